/* Distances and summaries of genotypes, by the card's and by hand-made numbers. */
#include <math.h>

#include "check.h"
#include "sow/genotype.h"

static sow_arena *arena;

static int open_arena(void **state) {
    return sow_arena_new(&arena) != SOW_OK;
}

static int close_arena(void **state) {
    sow_arena_free(arena);
    return 0;
}

/* Individuals of `ploidy` copies of `loci` alleles 0..9 each, written as digits. */
static sow_genotypes of_digits(int64_t individuals, int ploidy, int64_t loci, const char *digits) {
    sow_genotypes g = {.individuals = individuals, .ploidy = ploidy, .loci = loci, .marker = SOW_MARKER_SNP};
    OK(SOW_NEW(arena, g.alleles, individuals * ploidy * loci));
    OK(SOW_NEW(arena, g.population, individuals));
    OK(SOW_NEW(arena, g.allele_count, loci));
    for (int64_t i = 0; i < individuals * ploidy * loci; i++) {
        g.alleles[i] = (uint16_t)(digits[i] - '0');
        if (g.alleles[i] > g.allele_count[i % loci]) g.allele_count[i % loci] = g.alleles[i];
    }
    return g;
}

static double distance(const sow_genotypes *g, sow_genotype_distance kind, bool first, sow_distance_notes *notes) {
    double d[4];
    OK(sow_genotype_distances(g, kind, NULL, 0, first, d, notes));
    assert_true(d[0] == 0 && d[3] == 0 && d[1] == d[2]);
    return d[1];
}

static void jukes_cantor_has_its_worked_numbers(void **state) {
    static const struct {
        int differ;
        double d;
    } cases[] = {{10, .10732563}, {20, .23261620}, {50, .82395922}, {70, 2.03103765}, {75, 100}, {90, 100}, {0, 0}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char digits[200];
        sow_distance_notes notes;
        for (int l = 0; l < 100; l++) digits[l] = '1', digits[100 + l] = l < cases[c].differ ? '2' : '1';
        sow_genotypes g = of_digits(2, 1, 100, digits);
        assert_near(distance(&g, SOW_DISTANCE_JUKES_CANTOR, false, &notes), cases[c].d, 5e-9);
        assert_int_equal(notes.saturated, cases[c].differ >= 75);
    }
}

static void missing_alleles_are_left_out_pair_by_pair(void **state) {
    sow_distance_notes notes;
    sow_genotypes g = of_digits(2, 1, 5,
                                "11220"
                                "12012");
    assert_near(distance(&g, SOW_DISTANCE_HAMMING, false, &notes), 2. / 3, 1e-15);
    g = of_digits(2, 1, 2,
                  "10"
                  "01");
    assert_near(distance(&g, SOW_DISTANCE_HAMMING, false, &notes), 0, 0);
    assert_near(distance(&g, SOW_DISTANCE_JUKES_CANTOR, false, &notes), 100, 0);
    assert_int_equal(notes.empty, 1);
}

static void copies_are_compared_in_file_order_but_for_ibs(void **state) {
    sow_distance_notes notes;
    /* one locus 1/2 against 2/1; one 1/1 against 1/2; one 1/2 against 3/4 */
    sow_genotypes g = of_digits(2, 2, 3,
                                "111"
                                "212"
                                "213"
                                "124");
    assert_near(distance(&g, SOW_DISTANCE_HAMMING, false, &notes), 5. / 6, 1e-15);
    assert_near(distance(&g, SOW_DISTANCE_HAMMING, true, &notes), 2. / 3, 1e-15);
    assert_near(distance(&g, SOW_DISTANCE_IBS, false, &notes), (0 + .5 + 1) / 3, 1e-15);
}

static void ibs_of_three_copies_is_that_of_multisets(void **state) {
    sow_distance_notes notes;
    sow_genotypes g = of_digits(2, 3, 1,
                                "112"
                                "211");
    assert_near(distance(&g, SOW_DISTANCE_IBS, false, &notes), 0, 0);
    g = of_digits(2, 3, 1,
                  "112"
                  "122");
    assert_near(distance(&g, SOW_DISTANCE_IBS, false, &notes), 1. / 3, 1e-15);
}

static void long_rows_are_counted_without_overflow(void **state) {
    enum { LOCI = 70000 };
    char *digits = malloc(2 * LOCI);
    sow_distance_notes notes;
    memset(digits, '1', 2 * LOCI);
    memset(digits + LOCI, '2', LOCI / 2);
    sow_genotypes g = of_digits(2, 1, LOCI, digits);
    assert_near(distance(&g, SOW_DISTANCE_HAMMING, false, &notes), .5, 0);
    free(digits);
}

/* Two populations of two diploids at one locus: 1 1 1 2 and 2 2 2 2. */
static void summaries_are_those_by_hand(void **state) {
    sow_genotypes g = of_digits(4, 2, 1,
                                "1112"
                                "2222");
    const char *names[] = {"a", "b"};
    sow_population_summary s[2];
    double pairs[4];
    g.populations = names, g.population_count = 2;
    g.population[2] = g.population[3] = 1;
    OK(sow_genotype_summary(&g, arena, s, pairs));
    assert_int_equal(s[0].samples, 2);
    assert_near(s[0].heterozygosity, .5, 1e-15); /* 1 - (3*2 + 0) / (4*3) */
    assert_near(s[0].observed, .5, 1e-15);
    assert_near(s[1].heterozygosity, 0, 0);
    /* within (.5 + 0) / 2 = .25, between 1 - (1 * 4) / 16 = .75 */
    assert_near(pairs[1], 1 - .25 / .75, 1e-15);
    assert_near(s[0].fst, pairs[1], 0);
}

static void generated_populations_have_the_asked_differentiation(void **state) {
    sow_genotype_model m = {.populations = 4, .each = 60, .loci = 2000, .fst = .15, .block = 1, .seed = 3};
    sow_genotypes g, again;
    sow_population_summary s[4];
    OK(sow_genotypes_generate(&m, arena, &g));
    OK(sow_genotype_summary(&g, arena, s, NULL));
    for (int k = 0; k < 4; k++) {
        assert_near(s[k].fst, .15, .015);
        assert_near(s[k].observed, s[k].heterozygosity, .01);
    }
    m.inbreeding = .5;
    OK(sow_genotypes_generate(&m, arena, &again));
    OK(sow_genotype_summary(&again, arena, s, NULL));
    for (int k = 0; k < 4; k++) assert_near(s[k].observed / s[k].heterozygosity, .5, .03);
}

static void linked_loci_are_copies_of_their_blocks_first(void **state) {
    sow_genotype_model m = {
        .populations = 2, .each = 50, .loci = 1000, .fst = .1, .linkage = .9, .block = 10, .seed = 3};
    sow_genotypes g;
    int64_t same = 0, all = 0;
    OK(sow_genotypes_generate(&m, arena, &g));
    for (int64_t i = 0; i < g.individuals; i++)
        for (int64_t l = 0; l < g.loci; l++) {
            if (l % 10 == 0) continue;
            const uint16_t *a = sow_genotype_row(&g, i, 0), *b = sow_genotype_row(&g, i, 1);
            same += a[l] == a[l / 10 * 10] && b[l] == b[l / 10 * 10];
            all++;
        }
    assert_in_range(same * 1000 / all, 910, 960); /* .9, and by chance some of the rest */
}

static void picking_keeps_individuals_whole(void **state) {
    sow_genotype_model m = {.populations = 3, .each = 4, .loci = 50, .fst = .2, .block = 1, .seed = 9};
    sow_genotypes g, picked;
    OK(sow_genotypes_generate(&m, arena, &g));
    OK(sow_genotypes_pick(&g, (int64_t[]){7, 0}, 2, arena, &picked));
    assert_string_equal(picked.ids[0], g.ids[7]);
    assert_int_equal(picked.population[0], 1);
    assert_memory_equal(sow_genotype_row(&picked, 1, 1), sow_genotype_row(&g, 0, 1), 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jukes_cantor_has_its_worked_numbers),
        cmocka_unit_test(missing_alleles_are_left_out_pair_by_pair),
        cmocka_unit_test(copies_are_compared_in_file_order_but_for_ibs),
        cmocka_unit_test(ibs_of_three_copies_is_that_of_multisets),
        cmocka_unit_test(long_rows_are_counted_without_overflow),
        cmocka_unit_test(summaries_are_those_by_hand),
        cmocka_unit_test(generated_populations_have_the_asked_differentiation),
        cmocka_unit_test(linked_loci_are_copies_of_their_blocks_first),
        cmocka_unit_test(picking_keeps_individuals_whole),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
