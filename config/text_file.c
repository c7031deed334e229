#include "config/text_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int text_file_read(const char *path, size_t max_bytes, char **text, size_t *len, struct err *e)
{
	FILE *f = fopen(path, "rbe");
	char *buf = malloc(max_bytes + 1);
	size_t n = 0;
	int rc = 0;

	if (!f)
		rc = err_set(e, ERR_IO, "%s", strerror(errno));
	else if (!buf)
		rc = err_set(e, ERR_NOMEM, "no room for the %zu bytes that it may have", max_bytes);
	if (rc)
		goto out;
	n = fread(buf, 1, max_bytes + 1, f);
	if (ferror(f))
		rc = err_set(e, ERR_IO, "%s", strerror(errno));
	else if (n > max_bytes)
		rc = err_set(e, ERR_LIMIT, "larger than %zu bytes", max_bytes);
	if (rc)
		goto out;
	*text = buf;
	*len = n;
	buf = NULL; /* handed over */
out:
	free(buf);
	if (f)
		fclose(f);
	return rc;
}

int text_file_line(const char *path, char *dst, size_t cap, struct err *e)
{
	char *text = NULL;
	size_t len = 0, n = 0;
	int rc = text_file_read(path, 65536, &text, &len, e);

	if (rc)
		return rc;
	while (n < len && text[n] && text[n] != '\n' && text[n] != '\r')
		n++;
	if (!n || n >= cap) {
		rc = err_set(e, ERR_CONFIG, "the first line must have 1..%zu bytes", cap - 1);
	} else {
		memcpy(dst, text, n);
		dst[n] = '\0';
	}
	free(text);
	return rc;
}
