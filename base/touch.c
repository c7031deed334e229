#include "base/touch.h"

#define PAGE 4096u /* no system of ours has smaller ones */

void touch(void *p, size_t bytes)
{
	volatile unsigned char *at = p;

	for (size_t i = 0; at && i < bytes; i += PAGE)
		at[i] = 0;
	if (at && bytes)
		at[bytes - 1] = 0;
}
