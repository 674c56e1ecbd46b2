/* Winning tickets by iterative magnitude pruning: Frankle and Carbin 2019, arXiv 1803.03635, section 1 and appendix B. */
#include <string.h>

#include "sow/log.h"
#include "starts/sparsity/lottery_ticket/ticket.h"

sow_status sow_lottery_start(sow_state *state, uint64_t seed, bool truncated) {
    sow_rng rng;
    sow_init init = sow_init_defaults(truncated ? SOW_INIT_GLOROT_TRUNCATED : SOW_INIT_XAVIER_NORMAL);
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    return sow_init_state(&rng, state, &init, NULL, 0);
}

uint64_t sow_lottery_seed(uint64_t seed, int round, bool same_order) {
    sow_rng rng;
    if (same_order || round == 0) return seed;
    sow_rng_seed(&rng, SOW_RNG_SOW, seed);
    sow_rng_at_index(&rng, "lottery round", (uint64_t)round);
    return sow_rng_below(&rng, UINT64_C(1) << 31);
}

void sow_ticket_free(sow_ticket *ticket) {
    sow_state_free(ticket->start);
    sow_state_free(ticket->ticket);
    sow_state_free(ticket->dense);
    *ticket = (sow_ticket){0};
}

/* One training, and what must hold after it. */
static sow_status train_round(const sow_lottery_config *config, int number, sow_lottery_train train, void *user,
                              sow_ticket *ticket, sow_state *weights) {
    sow_lottery_round round = {
        .number = number,
        .seed = sow_lottery_seed(config->seed, number, config->same_order),
        .mask = &ticket->masks[number],
        .rewind = number == 0 ? config->rewind : 0,
        .rewound = number == 0 && config->rewind > 0 ? ticket->start : NULL,
    };
    sow_status status = train(user, &round, weights);
    if (status == SOW_OK && round.rewound) status = sow_state_require_finite(ticket->start, "weights to rewind to");
    if (status == SOW_OK) status = sow_state_require_finite(weights, "trained weights");
    if (status == SOW_OK) status = sow_mask_require_zeros(round.mask, weights);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "round %d", number);
}

static sow_status find(sow_arena *arena, const sow_lottery_config *config, const sow_state *theta0,
                       sow_lottery_train train, void *user, sow_ticket *out) {
    SOW_TRY(sow_state_clone(theta0, false, &out->start));
    SOW_TRY(sow_state_clone(theta0, false, &out->ticket));
    SOW_TRY(SOW_NEW(arena, out->masks, config->rounds + 1));
    SOW_TRY(sow_prune_begin(arena, theta0, &config->prune, &out->masks[0]));
    sow_state *weights = out->ticket;
    for (int number = 0;; number++) {
        SOW_TRY(sow_check_interrupt());
        /* the last round is the ticket's own: it starts from theta_0 under both strategies */
        bool reset = config->strategy == SOW_LOTTERY_RESET || number == config->rounds;
        if (number > 0 && reset) SOW_TRY(sow_state_assign(weights, out->start));
        SOW_TRY(sow_mask_bind(&out->masks[number], weights));
        SOW_TRY(train_round(config, number, train, user, out, weights));
        if (number == 0) SOW_TRY(sow_state_clone(weights, false, &out->dense));
        if (number == config->rounds) break;
        SOW_TRY(sow_prune_magnitude(arena, weights, &out->masks[number], &config->prune, &out->masks[number + 1]));
    }
    SOW_TRY(sow_state_assign(out->ticket, out->start));
    return sow_mask_bind(&out->masks[config->rounds], out->ticket);
}

sow_status sow_lottery_find(sow_arena *arena, const sow_lottery_config *config, const sow_state *theta0,
                            sow_lottery_train train, void *user, sow_ticket *out) {
    *out = (sow_ticket){0};
    if (config->rounds < 1) return sow_fail(SOW_E_ARGUMENT, "rounds: found %d, expected at least 1", config->rounds);
    SOW_TRY(sow_state_require_finite(theta0, "theta_0"));
    sow_status status = find(arena, config, theta0, train, user, out);
    if (status != SOW_OK) sow_ticket_free(out);
    return status;
}
