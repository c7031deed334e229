#include "agent/settings.h"

#include <stdio.h>

#include "agent/profile.h"
#include "engine/kv_rows.h"
#include "engine/prompt.h"

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

int settings_core(struct agent_core_conf *cc, const struct config_agent *conf,
		  const struct segment *seg, struct err *e)
{
	*cc = (struct agent_core_conf){
		.n_layers = seg->hp.n_layers,
		.dim = seg->hp.dim,
		.split = settings_split(conf, seg),
		.kv = seg->kv_type,
		.kv_elements = seg->hp.n_kv_heads * (seg->hp.head_dim + seg->hp.head_dim_v),
		.context_tokens = conf->context_tokens,
		.max_sessions = conf->max_sessions,
		.max_tokens = conf->max_tokens,
		.qos = (int)conf->broker.qos,
		.sampling = settings_sampling(&conf->sampling),
		.accept_timeout_ms = conf->accept_timeout_ms,
		.reply_timeout_ms = conf->reply_timeout_ms,
		.session_deadline_ms = conf->session_deadline_ms,
		.ttft_ms = conf->deadline_ttft_ms,
		.tpot_ms = conf->deadline_tpot_ms,
		.max_delta = (float)conf->deadline_max_delta,
		.run_ahead = conf->run_ahead[0] == 'y',
		.drafts = settings_metered(conf) ? 0 : conf->drafts,
		.offline_after_ms = conf->offline_after_ms,
		.head_layers = profile_head_layers(seg),
		.attention = segment_attention_work(&seg->hp),
		.probe_us = settings_metered(conf) ? 0 : conf->telemetry_s * 1000000ull,
		.tokenizer = seg->tokenizer,
		.prompt_family = prompt_family(seg->gguf),
	};
	snprintf(cc->fleet, sizeof(cc->fleet), "%s", conf->fleet);
	snprintf(cc->agent, sizeof(cc->agent), "%s", conf->agent);
	snprintf(cc->model, sizeof(cc->model), "%s", seg->hash);
	snprintf(cc->calibration, sizeof(cc->calibration), "%s", seg->cal ? seg->cal->id : "");
	snprintf(cc->model_name, sizeof(cc->model_name), "%s", seg->name);
	profile_front_name(seg, cc->front);
	for (unsigned t = 0; t < KV_TYPE_COUNT; t++)
		cc->kv_position_bytes[t] = kv_rows_position_bytes(&seg->hp, (enum kv_type)t);
	if (msg_class_parse(&cc->class, conf->class))
		return err_set(e, ERR_CONFIG, "class must be " MSG_CLASS_WORDS);
	return settings_codec(&cc->codec, conf, e);
}
