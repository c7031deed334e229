#include "coordinator/lease.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SETTLE_MAX_MS 300u
#define BIT(n)        (1u << (n))

static const struct {
	const char *name;
	unsigned next; /* states that may follow this one */
} states[LEASE_NSTATES] = {
	[LEASE_DOWN] = { "down", BIT(LEASE_LISTENING) },
	[LEASE_LISTENING] = { "listening",
			      BIT(LEASE_DOWN) | BIT(LEASE_FOLLOWING) | BIT(LEASE_CLAIMING) },
	[LEASE_FOLLOWING] = { "following", BIT(LEASE_DOWN) | BIT(LEASE_CLAIMING) },
	[LEASE_CLAIMING] = { "claiming",
			     BIT(LEASE_DOWN) | BIT(LEASE_FOLLOWING) | BIT(LEASE_HOLDING) },
	[LEASE_HOLDING] = { "holding",
			    BIT(LEASE_DOWN) | BIT(LEASE_LISTENING) | BIT(LEASE_FOLLOWING) },
};

/* The only place that writes l->state. */
static void move(struct lease *l, enum lease_state to)
{
	assert(states[l->state].next & BIT(to));
	l->state = to;
}

uint32_t lease_settle_ms(uint32_t lease_ms)
{
	return lease_ms / 10 < SETTLE_MAX_MS ? lease_ms / 10 : SETTLE_MAX_MS;
}

void lease_init(struct lease *l, const char *coordinator, uint64_t boot, uint32_t lease_ms)
{
	*l = (struct lease){ .own = { .boot = boot, .lease_ms = lease_ms } };
	snprintf(l->own.coordinator, sizeof(l->own.coordinator), "%s", coordinator);
}

/* Below 0: a is the better claim. */
static int compare(const struct msg_coordinator_lease *a, const struct msg_coordinator_lease *b)
{
	int names = strcmp(a->coordinator, b->coordinator);

	if (a->term != b->term)
		return a->term > b->term ? -1 : 1;
	if (names)
		return names;
	return a->boot < b->boot ? -1 : a->boot > b->boot;
}

static enum lease_effect publish(struct lease *l)
{
	l->own.renewal++;
	l->sent[l->own.renewal % LEASE_SENT].renewal = l->own.renewal;
	l->sent[l->own.renewal % LEASE_SENT].ms = l->now_ms;
	l->renew_ms = l->now_ms + l->own.lease_ms / 3;
	return LEASE_PUBLISH;
}

static enum lease_effect claim(struct lease *l)
{
	move(l, LEASE_CLAIMING);
	l->own.term = ++l->term;
	l->holder.term = 0;
	l->since_ms = l->now_ms;
	l->until_ms = 0;
	memset(l->sent, 0, sizeof(l->sent)); /* what comes back must be of this term */
	return publish(l);
}

static void follow(struct lease *l, const struct msg_coordinator_lease *c)
{
	if (l->state != LEASE_FOLLOWING)
		move(l, LEASE_FOLLOWING);
	l->holder = *c;
	l->due_ms = l->now_ms + c->lease_ms;
}

/* The broker shows us a message of ours: it holds from when that was sent. */
static void confirm(struct lease *l, const struct msg_coordinator_lease *c)
{
	uint64_t sent = l->sent[c->renewal % LEASE_SENT].ms;

	if (c->term != l->own.term || l->sent[c->renewal % LEASE_SENT].renewal != c->renewal)
		return;
	if (l->until_ms < sent + l->own.lease_ms)
		l->until_ms = sent + l->own.lease_ms;
}

/* Something worse stands on the topic: ours must stand there, but two that do not hear each other
 * must not flood it. */
static enum lease_effect insist(struct lease *l)
{
	uint64_t last = l->sent[l->own.renewal % LEASE_SENT].ms;
	uint64_t pause = lease_settle_ms(l->own.lease_ms) / 4;

	if (l->now_ms >= last + pause)
		return publish(l);
	l->renew_ms = last + pause;
	return LEASE_NOTHING;
}

static enum lease_effect hear(struct lease *l, const struct msg_coordinator_lease *c, bool retained)
{
	bool mine = c->boot == l->own.boot && !strcmp(c->coordinator, l->own.coordinator);

	if (l->term < c->term)
		l->term = c->term;
	if (l->state == LEASE_CLAIMING || l->state == LEASE_HOLDING) {
		if (mine)
			confirm(l, c);
		else if (compare(c, &l->own) < 0)
			follow(l, c);
		else
			return insist(l);
		return LEASE_NOTHING;
	}
	if (mine)
		return LEASE_NOTHING; /* of before we yielded, or lost the broker */
	if (retained && !strcmp(c->coordinator, l->own.coordinator))
		return LEASE_NOTHING; /* an earlier life of ours is over: nobody holds it */
	if (retained && c->boot == l->gone_boot)
		return LEASE_NOTHING; /* its status came first */
	if (l->holder.term && compare(c, &l->holder) > 0)
		return LEASE_NOTHING;
	if (l->state == LEASE_DOWN)
		l->holder = *c; /* what is retained may come before the news that we are up */
	else
		follow(l, c);
	return LEASE_NOTHING;
}

/* Nobody holds it, as it seems; whoever does will say so within the settle time. */
static void hurry(struct lease *l)
{
	uint64_t soon = l->now_ms + lease_settle_ms(l->own.lease_ms);

	if (l->state == LEASE_DOWN || l->state == LEASE_LISTENING)
		l->holder.term = 0;
	else if (l->state == LEASE_FOLLOWING && l->due_ms > soon)
		l->due_ms = soon;
}

static void on_gone(struct lease *l, uint64_t boot)
{
	l->gone_boot = boot;
	if (l->holder.term && l->holder.boot == boot)
		hurry(l);
}

static enum lease_effect on_cleared(struct lease *l)
{
	if (l->state == LEASE_CLAIMING || l->state == LEASE_HOLDING)
		return insist(l);
	hurry(l);
	return LEASE_NOTHING;
}

static void listen(struct lease *l)
{
	move(l, LEASE_LISTENING);
	l->due_ms = l->now_ms + lease_settle_ms(l->own.lease_ms);
}

static void on_down(struct lease *l)
{
	if (l->state != LEASE_DOWN)
		move(l, LEASE_DOWN);
}

static void on_up(struct lease *l)
{
	on_down(l);
	listen(l);
}

/* We did not run for so long that what was said meanwhile is still unread. */
static void forgive_pause(struct lease *l, uint64_t before_ms)
{
	if (l->state == LEASE_FOLLOWING && l->now_ms - before_ms > l->own.lease_ms / 3)
		l->due_ms = l->now_ms + l->holder.lease_ms;
}

static enum lease_effect wait_for_turn(struct lease *l)
{
	if (l->now_ms < l->due_ms)
		return LEASE_NOTHING;
	if (l->state == LEASE_FOLLOWING || !l->holder.term)
		return claim(l);
	follow(l, &l->holder); /* of before the broker went: it may be on its way back, too */
	return LEASE_NOTHING;
}

static enum lease_effect on_tick(struct lease *l)
{
	if (l->state == LEASE_DOWN)
		return LEASE_NOTHING;
	if (l->state == LEASE_LISTENING || l->state == LEASE_FOLLOWING)
		return wait_for_turn(l);
	if (l->state == LEASE_HOLDING && l->now_ms >= l->until_ms) {
		listen(l); /* the broker was silent, or we slept: somebody else may hold it */
		return LEASE_NOTHING;
	}
	if (l->state == LEASE_CLAIMING && l->now_ms < l->until_ms &&
	    l->now_ms >= l->since_ms + lease_settle_ms(l->own.lease_ms))
		move(l, LEASE_HOLDING);
	return l->now_ms >= l->renew_ms ? publish(l) : LEASE_NOTHING;
}

static enum lease_effect on_stop(struct lease *l)
{
	bool ours = l->state == LEASE_CLAIMING || l->state == LEASE_HOLDING;

	on_down(l);
	return ours ? LEASE_CLEAR : LEASE_NOTHING;
}

enum lease_effect lease_step(struct lease *l, const struct lease_event *ev)
{
	uint64_t before_ms = l->now_ms;

	l->now_ms = ev->now_ms;
	forgive_pause(l, before_ms);
	switch (ev->kind) {
	case LEASE_EV_UP:
		on_up(l);
		break;
	case LEASE_EV_DOWN:
		on_down(l);
		break;
	case LEASE_EV_HEARD:
		return hear(l, ev->claim, ev->retained);
	case LEASE_EV_CLEARED:
		return on_cleared(l);
	case LEASE_EV_GONE:
		on_gone(l, ev->boot);
		break;
	case LEASE_EV_TERM:
		l->term = l->term < ev->term ? ev->term : l->term;
		break;
	case LEASE_EV_TICK:
		return on_tick(l);
	case LEASE_EV_STOP:
		return on_stop(l);
	}
	return LEASE_NOTHING;
}

bool lease_is_active(const struct lease *l, uint64_t now_ms)
{
	return l->state == LEASE_HOLDING && now_ms < l->until_ms;
}

const char *lease_state_name(enum lease_state state)
{
	return states[state].name;
}
