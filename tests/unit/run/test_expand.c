/* Placeholders of command lines, and the order in which cells may start. */
#include "run/order.h"
#include "run/trainers.h"

static const sow_variable variables[] = {
    {"init", "starts/it's 1.safetensors"}, {"seed", "7"}, {"lr", "1e-3; rm -rf /"}, {"steps", ""}};

static char *expand(sow_arena *arena, const char *command) {
    char *out;
    if (sow_expand(arena, command, variables, 4, &out) != SOW_OK) fail_msg("%s", sow_message());
    return out;
}

static void values_are_quoted_for_the_shell(void **state) {
    sow_arena *arena;
    sow_arena_new(&arena);
    assert_string_equal(expand(arena, "python t.py --init {init} --seed={seed}"),
                        "python t.py --init 'starts/it'\\''s 1.safetensors' --seed='7'");
    assert_string_equal(expand(arena, "{lr}{steps}"), "'1e-3; rm -rf /'''");
    assert_string_equal(expand(arena, ""), "");
    sow_arena_free(arena);
}

static void braces_of_the_shell_stay(void **state) {
    sow_arena *arena;
    sow_arena_new(&arena);
    assert_string_equal(expand(arena, "awk '{{print}' {a,b} ${HOME} ${seed} { echo; } {} {{seed}}"),
                        "awk '{print}' {a,b} ${HOME} ${seed} { echo; } {} {seed}}");
    assert_string_equal(expand(arena, "a{"), "a{");
    sow_arena_free(arena);
}

static void the_shell_reads_back_what_was_meant(void **state) {
    sow_arena *arena;
    char line[200];
    sow_arena_new(&arena);
    FILE *shell = popen(expand(arena, "printf '%s' {init}"), "r");
    assert_non_null(fgets(line, sizeof line, shell));
    pclose(shell);
    assert_string_equal(line, variables[0].value);
    sow_arena_free(arena);
}

static void an_unknown_placeholder_names_the_nearest(void **state) {
    sow_arena *arena;
    char *out;
    sow_arena_new(&arena);
    assert_int_equal(sow_expand(arena, "train --init {inti}", variables, 4, &out), SOW_E_ARGUMENT);
    assert_contains(sow_message(), "{inti}, did you mean {init}?");
    assert_int_equal(sow_expand(arena, "train {optimizer}", variables, 4, &out), SOW_E_ARGUMENT);
    assert_contains(sow_message(), "unknown placeholder {optimizer} (");
    assert_int_equal(sow_expand(arena, "train {seed}", NULL, 0, &out), SOW_E_ARGUMENT);
    sow_arena_free(arena);
}

static void ready_cells_come_in_list_order(void **state) {
    static const int need[][2] = {{0, 0}, {3, 0}, {2, 4}};
    sow_cell cells[7] = {0};
    sow_order order;
    sow_arena *arena;
    sow_arena_new(&arena);
    cells[4].needs = need[0], cells[4].need_count = 1; /* 4 needs 0; 5 needs 3 and 0; 6 needs 2 and 4 */
    cells[5].needs = need[1], cells[5].need_count = 2;
    cells[6].needs = need[2], cells[6].need_count = 2;
    assert_int_equal(sow_order_new(arena, cells, 7, &order), SOW_OK);
    for (int c = 3; c >= 0; c--) sow_order_push(&order, c);
    assert_int_equal(sow_order_pop(&order), 0);
    assert_int_equal(sow_order_pop(&order), 1);
    sow_order_done(&order, 0);
    assert_int_equal(sow_order_pop(&order), 2);
    sow_order_done(&order, 2);
    assert_int_equal(sow_order_pop(&order), 3);
    assert_int_equal(sow_order_pop(&order), 4);
    assert_int_equal(sow_order_pop(&order), -1);
    sow_order_done(&order, 3);
    assert_int_equal(sow_order_pop(&order), 5);
    sow_order_done(&order, 4);
    assert_int_equal(sow_order_pop(&order), 6);
    sow_arena_free(arena);
}

static void dependents_are_found_through_others_and_once(void **state) {
    static const int need[][2] = {{0, 0}, {0, 1}, {2, 1}};
    sow_cell cells[5] = {0};
    sow_order order;
    sow_arena *arena;
    const int *list;
    sow_arena_new(&arena);
    cells[1].needs = need[0], cells[1].need_count = 1; /* 1 needs 0; 2 needs 0 and 1; 3 needs 2 and 1; 4 nothing */
    cells[2].needs = need[1], cells[2].need_count = 2;
    cells[3].needs = need[2], cells[3].need_count = 2;
    assert_int_equal(sow_order_new(arena, cells, 5, &order), SOW_OK);
    assert_int_equal(sow_order_dependents(&order, 4, &list), 0);
    assert_int_equal(sow_order_dependents(&order, 0, &list), 3);
    assert_int_equal(list[0] + list[1] + list[2], 6);
    assert_int_equal(sow_order_dependents(&order, 0, &list), 0);
    sow_arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_quoted_for_the_shell),
        cmocka_unit_test(braces_of_the_shell_stay),
        cmocka_unit_test(the_shell_reads_back_what_was_meant),
        cmocka_unit_test(an_unknown_placeholder_names_the_nearest),
        cmocka_unit_test(ready_cells_come_in_list_order),
        cmocka_unit_test(dependents_are_found_through_others_and_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
