#include "agent/settings.h"

bool settings_metered(const struct config_agent *conf)
{
	return conf->metered[0] == 'y';
}

struct msg_sampling settings_sampling(const struct config_sampling *s)
{
	return (struct msg_sampling){
		.temperature = s->temperature,
		.top_p = s->top_p,
		.min_p = s->min_p,
		.repeat_penalty = s->repeat_penalty,
		.top_k = s->top_k,
		.repeat_last = s->repeat_last,
	};
}

uint32_t settings_split(const struct config_agent *conf, const struct segment *seg)
{
	return conf->split == UINT32_MAX ? seg->last : conf->split;
}

int settings_codec(struct codec_spec *codec, const struct config_agent *conf, struct err *e)
{
	const int rc = spec_parse(codec, conf->codec, e);

	return rc ? err_wrap(e, "codec") : 0;
}
