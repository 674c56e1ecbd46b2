/* Readers of genotypes and distances: what each format means, and what each refuses, with its place. */
#include <unistd.h>

#include "check.h"
#include "sow/genotype.h"

static sow_arena *arena;
static char folder[] = "/tmp/sow-genotype-XXXXXX";

static int open_all(void **state) {
    return sow_arena_new(&arena) != SOW_OK || !mkdtemp(folder);
}

static int close_all(void **state) {
    char **names;
    int64_t count = 0;
    sow_list_folder(arena, folder, 1000, &names, &count);
    for (int64_t i = 0; i < count; i++) unlink(sow_path_join(arena, folder, names[i]));
    rmdir(folder);
    sow_arena_free(arena);
    return 0;
}

static const char *file_of(const char *name, const void *data, size_t size) {
    const char *path = sow_path_join(arena, folder, name);
    OK(sow_write_file(path, data, size));
    return path;
}

static sow_status read_with(const char *name, const char *text, sow_genotype_options options, sow_genotypes *out) {
    return sow_genotypes_read(arena, file_of(name, text, strlen(text)), &options, out);
}

static sow_genotypes read_text(const char *name, const char *text) {
    sow_genotypes g;
    OK(read_with(name, text, sow_genotype_defaults(), &g));
    return g;
}

static uint16_t at(const sow_genotypes *g, int64_t individual, int copy, int64_t locus) {
    return sow_genotype_row(g, individual, copy)[locus];
}

#define REFUSED(name, text, words)                                                             \
    do {                                                                                       \
        sow_genotypes refused_;                                                                \
        FAILS(read_with(name, text, sow_genotype_defaults(), &refused_), SOW_E_FORMAT, words); \
    } while (0)

/* ---- STRUCTURE ---- */

static void structure_has_two_lines_an_individual(void **state) {
    sow_genotypes g = read_text("a.str", "\nN1 b 1 -9 136\nN1 b 1 146 138\nN2 a 0 146 136\nN2 a 0 146 000\n");
    assert_string_equal(g.format, "STRUCTURE");
    assert_int_equal(g.individuals, 2);
    assert_int_equal(g.loci, 2);
    assert_int_equal(g.ploidy, 2);
    assert_int_equal(g.marker, SOW_MARKER_STR);
    assert_string_equal(g.populations[0], "a");
    assert_int_equal(g.population[0], 1);
    assert_int_equal(g.flag[0], 1);
    assert_int_equal(g.flag[1], 0);
    assert_int_equal(at(&g, 0, 0, 0), 0);
    assert_int_equal(at(&g, 0, 1, 0), at(&g, 1, 0, 0));
    assert_int_equal(at(&g, 0, 0, 1), at(&g, 1, 0, 1));
    assert_int_not_equal(at(&g, 0, 1, 1), at(&g, 0, 0, 1));
    assert_int_equal(at(&g, 1, 1, 1), 0);
}

static void columns_of_one_foreign_value_are_skipped(void **state) {
    const char *text = "i 0 0 99 99 0 1 -9\ni 0 0 99 99 0 2 3\nj 0 0 99 99 0 1 1\nj 0 0 99 99 0 1 1\n";
    sow_genotype_options options = sow_genotype_defaults();
    sow_genotypes g = read_text("b.str", text);
    assert_int_equal(g.loci, 3);
    assert_int_equal(g.marker, SOW_MARKER_SNP);
    assert_int_equal(at(&g, 0, 0, 0), 1); /* the code 0 is an allele */
    assert_int_equal(at(&g, 0, 0, 2), 0);
    options.skip_columns = 0;
    OK(read_with("b.str", text, options, &g));
    assert_int_equal(g.loci, 5);
}

static void a_header_names_the_loci_and_one_line_is_haploid(void **state) {
    sow_genotypes g = read_text("c.myc", "first second\ni p 1 A C\nj q 1 N T\n");
    assert_int_equal(g.ploidy, 1);
    assert_string_equal(g.locus[1], "second");
    assert_int_equal(at(&g, 1, 0, 0), 0);
}

static void broken_structure_is_refused_with_its_line(void **state) {
    REFUSED("x.str", "", "empty");
    REFUSED("x.str", "i p 1 A\ni p 1 A\nj p 1 A\nk p 1 A\n", "line 4 begins with 'k', expected 'j'");
    REFUSED("x.str", "i p 1 A C\ni p 1 A\n", "line 2 has 4 columns, expected 5");
    REFUSED("x.str", "i p 1 A\ni q 1 A\n", "line 2, column 2");
    REFUSED("x.str", "i p 7 A\nj p 7 A\n", "line 1, column 3: '7'");
    REFUSED("x.str", "i p 1\n", "expected id, population, flag and loci");
    REFUSED("x.str", "i p 1 A\nj p 1 A\ni p 1 C\n", "'i' is individual 1 and 3");
    REFUSED("x.str", "i p 1 A\nj p 1 -9\n", "'j' has no allele");
}

static void labels_come_from_a_file(void **state) {
    sow_genotype_options options = sow_genotype_defaults();
    sow_genotypes g;
    options.populations = file_of("pop", "x\ny\n", 4);
    OK(read_with("d.myc", "i 0 1 A\nj 0 1 C\n", options, &g));
    assert_string_equal(g.populations[g.population[1]], "y");
    options.populations = file_of("pop", "j x\ni y\n", 8);
    OK(read_with("d.myc", "i 0 1 A\nj 0 1 C\n", options, &g));
    assert_string_equal(g.populations[g.population[1]], "x");
    options.populations = file_of("pop", "x\n", 2);
    FAILS(read_with("d.myc", "i 0 1 A\nj 0 1 C\n", options, &g), SOW_E_FORMAT, "1 labels for 2 individuals");
    options.populations = file_of("pop", "k x\ni y\n", 8);
    FAILS(read_with("d.myc", "i 0 1 A\nj 0 1 C\n", options, &g), SOW_E_FORMAT, "line 1: no individual 'k'");
}

/* ---- the others ---- */

static void genepop_has_blocks(void **state) {
    sow_genotypes g = read_text("a.gen", "title\nL1, L2\nPop\na1 , 0102 0000\na2 , 0101 0203\nPOP\nb1 , 0202 0303\n");
    assert_int_equal(g.individuals, 3);
    assert_int_equal(g.population[2], 1);
    assert_string_equal(g.locus[1], "L2");
    assert_int_equal(at(&g, 0, 0, 1), 0);
    assert_int_equal(at(&g, 0, 1, 0), at(&g, 2, 0, 0));
    g = read_text("b.gen", "title\nL1\nL2\nPop\nx, 001002 003000\nx, 001001 003003\n");
    assert_string_equal(g.ids[1], "x_2"); /* a repeated id is the population's */
    assert_int_equal(at(&g, 0, 1, 1), 0);
    REFUSED("x.gen", "title\nL1\n", "no line 'Pop'");
    REFUSED("x.gen", "title\nL1\nPop\nx 0101\n", "no comma");
    REFUSED("x.gen", "title\nL1\nPop\nx, 0101 0101\n", "2 genotypes, expected 1");
    REFUSED("x.gen", "title\nL1\nPop\nx, 0101\ny, 01a1\n", "line 5, locus 1");
}

static void fstat_has_numbers(void **state) {
    sow_genotypes g = read_text("a.dat", "2 2 12 2\nL1\nL2\n1 0102 1111\n2 102 0\n");
    assert_int_equal(g.individuals, 2);
    assert_int_equal(at(&g, 0, 0, 0), at(&g, 1, 0, 0));
    assert_int_equal(at(&g, 1, 1, 1), 0);
    REFUSED("x.dat", "2 2 12 2\nL1\n", "expected 2 names");
    REFUSED("x.dat", "1 1 5 2\nL1\n1 0106\n", "locus 1: '0106'");
    REFUSED("x.dat", "1 1 5 2\nL1\n3 0101\n", "population '3'");
    REFUSED("x.dat", "1 1 5 9\nL1\n1 0101\n", "9 digits");
}

#define VCF "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2\n"

static void vcf_has_phases_and_many_alleles(void **state) {
    sow_genotypes g = read_text("a.vcf", VCF "1\t5\t.\tA\tC,G,T\t.\t.\t.\tGT:DP\t0|3:7\t./.\n"
                                             "1\t9\trs7\tA\tC\t.\t.\t.\tGT\t1/0\t1\n");
    assert_int_equal(g.loci, 2);
    assert_string_equal(g.locus[0], "1:5");
    assert_string_equal(g.locus[1], "rs7");
    assert_int_equal(at(&g, 0, 1, 0), 2);
    assert_int_equal(at(&g, 1, 0, 0), 0);
    assert_int_equal(at(&g, 1, 0, 1), at(&g, 0, 0, 1));
    assert_int_equal(at(&g, 1, 1, 1), 0);
    assert_int_equal(g.population[0], -1);
    REFUSED("x.vcf", VCF "1\t5\t.\tA\tC\t.\t.\t.\tGT\t0/2\t0/0\n", "line 3, sample 1: '0/2', expected alleles 0 to 1");
    REFUSED("x.vcf", VCF "1\t5\t.\tA\tC\t.\t.\t.\tGT\t0/1\n", "10 columns, expected 11");
    REFUSED("x.vcf", VCF "1\t5\t.\tA\tC\t.\t.\t.\tDP\t0/1\t0/1\n", "FORMAT");
    REFUSED("x.vcf", "##fileformat=VCFv4.2\n", "#CHROM");
    REFUSED("x.vcf", VCF, "no loci");
}

static void fasta_is_an_alignment(void **state) {
    sow_genotypes g = read_text("a.fasta", ">one first\nACGT\nac\n>two\nANGTNU\n");
    assert_int_equal(g.loci, 6);
    assert_int_equal(g.marker, SOW_MARKER_SEQUENCE);
    assert_string_equal(g.ids[0], "one");
    assert_int_equal(at(&g, 0, 0, 0), at(&g, 1, 0, 0));
    assert_int_equal(at(&g, 1, 0, 1), 0);
    assert_int_not_equal(at(&g, 1, 0, 5), 0);
    REFUSED("x.fasta", ">a\nACGT\n>b\nACG\n", "'b' has 3 sites, expected 4");
    REFUSED("x.fa", "ACGT\n", "expected '>'");
    REFUSED("x.fasta", ">a\nAC\n>a\nAC\n", "'a' is individual 1 and 2");
}

static void plink_has_two_bits_a_genotype(void **state) {
    /* five individuals, two variants: codes 00 hom1, 01 missing, 10 het, 11 hom2, from the low bits */
    static const uint8_t bed[] = {0x6c, 0x1b, 1, 0xe4, 0x03, 0x00, 0x00};
    const char *path = file_of("p.bed", bed, sizeof bed);
    sow_genotypes g;
    sow_genotype_options options = sow_genotype_defaults();
    file_of("p.bim", "1 rs1 0 5 A G\n1 rs2 0 9 C T\n", 28);
    file_of("p.fam", "x i1 0 0 1 1\nx i2 0 0 1 1\ny i3 0 0 1 1\ny i4 0 0 1 1\ny i5 0 0 1 1\n", 65);
    OK(sow_genotypes_read(arena, path, &options, &g));
    assert_int_equal(g.individuals, 5);
    assert_int_equal(g.population[4], 1);
    uint16_t a = at(&g, 0, 0, 0), b = at(&g, 3, 0, 0);
    assert_true(a != b && a && b);
    assert_int_equal(at(&g, 0, 1, 0), a);
    assert_int_equal(at(&g, 1, 0, 0), 0);
    assert_true(at(&g, 2, 0, 0) == a && at(&g, 2, 1, 0) == b);
    assert_int_equal(at(&g, 4, 0, 0), b);
    file_of("p.bed", bed, sizeof bed - 1);
    FAILS(sow_genotypes_read(arena, path, &options, &g), SOW_E_FORMAT, "6 bytes, expected 7");
    file_of("p.bed", "nothing", 7);
    FAILS(sow_genotypes_read(arena, path, &options, &g), SOW_E_FORMAT, "does not begin");
}

/* ---- distances ---- */

static sow_distances distances_of(const char *name, const char *text) {
    sow_distances d;
    OK(sow_distances_read(arena, file_of(name, text, strlen(text)), &d));
    return d;
}

static void distances_are_read_from_every_format(void **state) {
    static const struct {
        const char *name, *text;
    } files[] = {
        {"a.csv", "x,a,b,c\na,0,1,2\nb,1,0,3\nc,2,3,0\n"},
        {"b.phy", "3\na 0 1 2\nb 1 0 3\nc 2 3 0\n"},
        {"c.phy", "3\na\nb 1\nc 2 3\n"},
        {"d.nex", "#nexus\nBEGIN Taxa; DIMENSIONS ntax=3; TAXLABELS a b 'c'; END;\n"
                  "BEGIN Distances; FORMAT labels=no diagonal triangle=both; MATRIX 0 1 2 [x] 1 0 3 2 3 0; END;"},
        {"e.nex",
         "#NEXUS\nbegin distances; dimensions ntax=3; format triangle=lower nodiagonal;\nmatrix a b 1 c 2 3;\nend;"},
        {"f.nex",
         "#NEXUS\nbegin distances; dimensions ntax=3; format triangle=upper;\nmatrix a 0 1 2 b 0 3 c 0;\nend;"},
    };
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        sow_distances d = distances_of(files[f].name, files[f].text);
        static const double expected[] = {0, 1, 2, 1, 0, 3, 2, 3, 0};
        assert_int_equal(d.count, 3);
        for (int i = 0; i < 9; i++) assert_near(d.values[i], expected[i], 0);
        assert_string_equal(d.names[2], "c");
    }
    sow_distances d = distances_of("g.csv", "0,1\n1,0\n");
    assert_string_equal(d.names[0], "1");
}

#define NO_DISTANCES(name, text, words)                                                                \
    do {                                                                                               \
        sow_distances d_;                                                                              \
        FAILS(sow_distances_read(arena, file_of(name, text, strlen(text)), &d_), SOW_E_FORMAT, words); \
    } while (0)

static void broken_distances_are_refused(void **state) {
    NO_DISTANCES("x.csv", "0,1,2,3\n1,0,2,3\n", "2 rows and 4 columns");
    NO_DISTANCES("x.csv", "0,1\n1,x\n", "x");
    NO_DISTANCES("x.csv", "h,a,b\na,0,1\nc,1,0\n", "line 3 is 'c'");
    NO_DISTANCES("x.phy", "3\na 0 1 2\nb 1 0\n", "ends within the row of 'b'");
    NO_DISTANCES("x.phy", "20000\na 0\n", "too short");
    NO_DISTANCES("x.phy", "2\na 0 nan\nb 1 0\n", "'nan' is no finite number");
    NO_DISTANCES("x.phy", "2\na 0 1\na 1 0\n", "comes twice");
    NO_DISTANCES("x.nex", "#nexus\nbegin splits; end;", "no Distances block");
    NO_DISTANCES("x.nex", "#nexus\nbegin distances; dimensions ntax=2; matrix a 0 1 b 1", "ends within the matrix");
    NO_DISTANCES("x.nex", "", "empty");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structure_has_two_lines_an_individual),
        cmocka_unit_test(columns_of_one_foreign_value_are_skipped),
        cmocka_unit_test(a_header_names_the_loci_and_one_line_is_haploid),
        cmocka_unit_test(broken_structure_is_refused_with_its_line),
        cmocka_unit_test(labels_come_from_a_file),
        cmocka_unit_test(genepop_has_blocks),
        cmocka_unit_test(fstat_has_numbers),
        cmocka_unit_test(vcf_has_phases_and_many_alleles),
        cmocka_unit_test(fasta_is_an_alignment),
        cmocka_unit_test(plink_has_two_bits_a_genotype),
        cmocka_unit_test(distances_are_read_from_every_format),
        cmocka_unit_test(broken_distances_are_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
