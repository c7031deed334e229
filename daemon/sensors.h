/* daemon/sensors.h - how warm the machine is and what it lives on, as far as Linux says.
 *
 *   temperature      hottest of /sys/class/thermal/thermal_zone<n>/temp (of types that name a
 *                    processor or SoC where there are any)
 *   throttled        a cooling device of processors is at work, or a policy of
 *                    /sys/devices/system/cpu/cpufreq allows less than the hardware can
 *   battery          /sys/class/power_supply/<name> of type Battery that powers the system: mean
 *                    capacity; discharging: on_battery
 *
 * What is not there, or makes no sense, is left out: never an error. Reads some files; not per
 * token. Any thread. Sources: Documentation/ABI/testing/sysfs-class-thermal, sysfs-class-power and
 * sysfs-devices-system-cpu of the Linux kernel. */
#ifndef DAEMON_SENSORS_H
#define DAEMON_SENSORS_H

#include "schema/msg.h"

/* Into has, temperature_c, throttled, battery_percent and on_battery of *t. root: "" on a machine,
 * a folder with a `sys` in tests. */
void sensors_read(struct msg_telemetry *t, const char *root);

#endif
