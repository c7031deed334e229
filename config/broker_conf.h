/* config/broker_conf.h - the keys `broker.*`, which every program has. */
#ifndef CONFIG_BROKER_CONF_H
#define CONFIG_BROKER_CONF_H

#include "config/config.h"
#include "config/keys.h"

/* Rows of a key table whose struct has a member `broker`. */
#define BROKER_KEYS(conf)                                                                          \
	{ KEY(conf, "broker.host", broker.host, KEY_TEXT), .fallback = "127.0.0.1" },              \
		{ KEY(conf, "broker.port", broker.port, KEY_U32),                                  \
		  .min = 1,                                                                        \
		  .max = 65535,                                                                    \
		  .has_auto = true,                                                                \
		  .auto_value = 0,                                                                 \
		  .fallback = "auto" },                                                            \
		{ KEY(conf, "broker.username", broker.username, KEY_TEXT), .fallback = "" },       \
		{ KEY(conf, "broker.password", broker.password, KEY_TEXT), .fallback = "",         \
		  .secret = true },                                                                \
		{ KEY(conf, "broker.password_file", broker.password_file, KEY_PATH),               \
		  .fallback = "" },                                                                \
		{ KEY(conf, "broker.ca_file", broker.ca_file, KEY_PATH), .fallback = "" },         \
		{ KEY(conf, "broker.cert_file", broker.cert_file, KEY_PATH), .fallback = "" },     \
		{ KEY(conf, "broker.key_file", broker.key_file, KEY_PATH), .fallback = "" },       \
		{ KEY(conf, "broker.keepalive_s", broker.keepalive_s, KEY_U32), .min = 2,          \
		  .max = 3600, .fallback = "5" },                                                  \
		{ KEY(conf, "broker.max_packet_bytes", broker.max_packet_bytes, KEY_U32),          \
		  .min = 4096, .max = 268435456, .fallback = "131072" },                           \
	{                                                                                          \
		KEY(conf, "broker.qos", broker.qos, KEY_U32), .min = 0, .max = 1, .fallback = "0"  \
	}

/* Rules over several broker keys; resolves the port; reads password_file when src->outside. */
MUST_CHECK int broker_conf_resolve(struct config_broker *b, const struct key_source *src,
				   struct err *e);

#endif
