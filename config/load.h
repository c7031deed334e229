/* config/load.h - what the three programs share: their tables of keys, files, the machine. */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include <stdint.h>

#include "base/err.h"
#include "config/keys.h"

extern const struct key_set load_agent_keys;       /* agent_conf.c */
extern const struct key_set load_worker_keys;      /* worker_conf.c */
extern const struct key_set load_coordinator_keys; /* coordinator_conf.c */

/* Whose file has this key or section, which set has not ("splitmq-worker"); NULL: nobody's. */
const char *load_owner(const struct key_set *set, const char *key);

/* Read path into *src, the environment allowed. *text is malloc'ed and must outlive *src. */
MUST_CHECK int load_source(struct key_source *src, const char *path, char **text, struct err *e);

/* Processors that are on line, 1..64. */
uint32_t load_processors(void);

#endif
