/* A C program on libsow: makes a Kaiming start for LeNet-300-100, masks half of its first layer, trains 200 steps on
 * Fashion-MNIST and saves the result. Build: cc half_ticket.c $(pkg-config --cflags --libs sow) -o half_ticket */
#include <sow/sow.h>
#include <stdio.h>

static sow_status show(void *user, const sow_evaluation *e) {
    (void)user;
    printf("step %4lld  validation loss %.4f  test accuracy %.4f\n", (long long)e->step, e->validation_loss, e->test_accuracy);
    return SOW_OK;
}

static sow_status run(sow_arena *arena) {
    sow_data *data;
    sow_model *model;
    sow_rng rng;
    sow_mask mask;
    SOW_TRY(sow_data_open("fashion-mnist", &(sow_data_options){.validation = -1}, &data));
    SOW_TRY(sow_model_new("lenet300", &data->geometry, &model));

    /* a start: one initialisation for all weights, zeros for biases */
    sow_init kaiming = sow_init_defaults(SOW_INIT_KAIMING_UNIFORM);
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, 7));
    SOW_TRY(sow_init_state(&rng, model->state, &kaiming, NULL, 0));

    /* a mask: every second weight of the first layer; pruned weights are exactly zero, before and after training */
    SOW_TRY(sow_mask_new(arena, model->state, &mask));
    sow_bits *first = sow_mask_find(&mask, "fc1.weight");
    for (int64_t i = 0; i < first->count; i += 2) sow_bit_clear(first, i);
    SOW_TRY(sow_mask_bind(&mask, model->state));

    sow_training training = {.steps = 200, .batch = 60, .evaluate_every = 100, .seed = 1, .optimizer = {.kind = SOW_ADAM, .rate = 1.2e-3}, .evaluated = show};
    SOW_TRY(sow_train(arena, &training, model, data));
    SOW_TRY(sow_save_state("trained.safetensors", model->state, NULL));
    sow_model_free(model);
    sow_data_free(data);
    return SOW_OK;
}

int main(void) {
    sow_arena *arena;
    sow_set_threads(0);
    sow_status status = sow_arena_new(&arena);
    if (status == SOW_OK) {
        status = run(arena);
        sow_arena_free(arena);
    }
    if (status != SOW_OK) fprintf(stderr, "half_ticket: %s\n", sow_message());
    return status == SOW_OK ? 0 : 1;
}
