#include "engine/kern.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kern_def.h"

#ifdef KERN_X86
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

static bool has_avx2(void)
{
	unsigned a, b, c = 0, d;

	/* F16C has no name in older compilers' list; a virtual machine may hide it alone. */
	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) && __builtin_cpu_supports("avx2") &&
	       __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
	return has_avx2() && __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512vl");
}

static bool has_avx512vnni(void)
{
	return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

/* The system saves the tiles' registers (bits 17 and 18 of XCR0). */
static bool saves_tiles(void)
{
	unsigned a, b, c = 0, d, low, high;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return false;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (low >> 17 & 3) == 3;
}

/* Linux lets a process use the tiles that has asked for them; the answer is for all its threads.
 * Source: Linux, Documentation/arch/x86/xstate.rst. */
static bool may_use_tiles(void)
{
#ifdef __linux__
	const long req_xcomp_perm = 0x1023, xtiledata = 18;

	return syscall(SYS_arch_prctl, req_xcomp_perm, xtiledata) == 0;
#else
	return false;
#endif
}

static bool has_amx(void)
{
	const unsigned needs = 15u << 22; /* AMX-BF16, AVX512-FP16, AMX-TILE, AMX-INT8 */
	unsigned a, b, c, d = 0;

	return has_avx512vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
	       (d & needs) == needs && saves_tiles() && may_use_tiles();
}
#endif

#ifdef KERN_ARM
#include <asm/hwcap.h>
#include <sys/auxv.h>

static bool has_dotprod(void)
{
	return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
}

static bool has_i8mm(void)
{
	return has_dotprod() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM);
}
#endif

static bool always(void)
{
	return true;
}

/* Ascending: the last one that the machine has is the best. */
static const struct {
	const char *name;
	const struct kern *table; /* NULL: not in this build */
	bool (*usable)(void);
} tables[] = {
	{ "ref", &kern_ref, always },
#ifdef KERN_X86
	{ "avx2", &kern_avx2, has_avx2 },
	{ "avx512", &kern_avx512, has_avx512 },
	{ "avx512vnni", &kern_avx512vnni, has_avx512vnni },
	{ "amx", &kern_amx, has_amx },
#else
	{ "avx2", NULL, always },     { "avx512", NULL, always },  { "avx512vnni", NULL, always },
	{ "amx", NULL, always },
#endif
#ifdef KERN_ARM
	{ "neon", &kern_neon, always },
	{ "dotprod", &kern_dotprod, has_dotprod },
	{ "i8mm", &kern_i8mm, has_i8mm },
#else
	{ "neon", NULL, always },     { "dotprod", NULL, always }, { "i8mm", NULL, always },
#endif
};

#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

const struct kern *kern_at(unsigned i)
{
	for (size_t t = 0; t < N_TABLES; t++) {
		if (tables[t].table && tables[t].usable() && i-- == 0)
			return tables[t].table;
	}
	return NULL;
}

static int pick_named(const struct kern **out, const char *word, struct err *e)
{
	for (size_t t = 0; t < N_TABLES; t++) {
		if (strcmp(tables[t].name, word))
			continue;
		if (!tables[t].table || !tables[t].usable())
			return err_set(e, ERR_UNSUPPORTED, "SPLITMQ_ISA=%s: this machine lacks it",
				       word);
		*out = tables[t].table;
		return 0;
	}
	return err_set(e, ERR_CONFIG,
		       "SPLITMQ_ISA must be ref, avx2, avx512, avx512vnni, amx, neon, dotprod or "
		       "i8mm, not \"%s\"",
		       word);
}

int kern_pick(const struct kern **out, struct err *e)
{
	const char *word = getenv("SPLITMQ_ISA");
	const struct kern *k;

	if (word && *word)
		return pick_named(out, word, e);
	for (unsigned i = 0; (k = kern_at(i)) != NULL; i++)
		*out = k;
	return 0;
}
