#include "config/broker_conf.h"

#include <string.h>

#include "config/text_file.h"

static int complain(const struct key_source *src, const char *key, const char *what, struct err *e)
{
	err_set(e, ERR_CONFIG, "%s", what);
	return keys_blame(src, key, e);
}

static int check_tls(const struct config_broker *b, const struct key_source *src, struct err *e)
{
	if (*b->cert_file && !*b->key_file)
		return complain(src, "broker.cert_file", "needs broker.key_file as well", e);
	if (*b->key_file && !*b->cert_file)
		return complain(src, "broker.key_file", "needs broker.cert_file as well", e);
	if (*b->cert_file && !*b->ca_file)
		return complain(src, "broker.cert_file", "needs broker.ca_file as well", e);
	return 0;
}

static int take_password(struct config_broker *b, const struct key_source *src, struct err *e)
{
	if (!*b->password_file)
		return 0;
	if (*b->password)
		return complain(src, "broker.password_file",
				"broker.password is given, too; one of them must go", e);
	if (src->outside && text_file_line(b->password_file, b->password, sizeof(b->password), e)) {
		err_wrap(e, "%.100s", b->password_file);
		return keys_blame(src, "broker.password_file", e);
	}
	return 0;
}

int broker_conf_resolve(struct config_broker *b, const struct key_source *src, struct err *e)
{
	int rc = check_tls(b, src, e);

	if (!rc && !*b->host)
		rc = complain(src, "broker.host", "must not be empty", e);
	if (!rc)
		rc = take_password(b, src, e);
	if (!rc && *b->password && !*b->username)
		rc = complain(src, *b->password_file ? "broker.password_file" : "broker.password",
			      "needs broker.username as well", e);
	if (!rc && !b->port)
		b->port = *b->ca_file ? 8883 : 1883;
	return rc;
}
