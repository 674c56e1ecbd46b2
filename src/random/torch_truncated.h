/* torch.nn.init.trunc_normal_ for one dtype: torch.c includes this with REAL the type and NAMED(x) x_f32 or x_f64.
 *
 * Normals where more than 0.3 of the mass lies inside, else uniform proposals; each round draws a whole tensor and
 * uses it where the last one was rejected. */

static sow_status NAMED(reject_normals)(sow_rng *rng, REAL *out, REAL *fresh, int64_t n, double mean, double sd,
                                        REAL low, REAL high) {
    NAMED(fill_normal)(rng, out, n, mean, sd);
    for (int round = 0; round < ROUNDS_LIMIT; round++) {
        int64_t outside = 0;
        for (int64_t i = 0; i < n; i++) outside += out[i] < low || out[i] > high;
        if (outside == 0) return SOW_OK;
        NAMED(fill_normal)(rng, fresh, n, mean, sd);
        for (int64_t i = 0; i < n; i++) out[i] = out[i] < low || out[i] > high ? fresh[i] : out[i];
    }
    return too_many_rounds((double)low, (double)high);
}

static sow_status NAMED(reject_uniforms)(sow_rng *rng, REAL *out, REAL *fresh, REAL *accept, uint8_t *pending,
                                         int64_t n, density d, double low, double high) {
    memset(pending, 1, (size_t)n);
    for (int round = 0; round < ROUNDS_LIMIT; round++) {
        int64_t left = 0;
        NAMED(fill_uniform)(rng, fresh, n, low, high);
        NAMED(fill_uniform)(rng, accept, n, 0.0, 1.0);
        for (int64_t i = 0; i < n; i++) {
            if (!pending[i]) continue;
            out[i] = fresh[i];
            pending[i] = NAMED(rejected)(fresh[i], accept[i], d);
            left += pending[i];
        }
        if (left == 0) return SOW_OK;
    }
    return too_many_rounds(low, high);
}

static sow_status NAMED(fill_truncated)(sow_rng *rng, REAL *out, int64_t n, double mean, double sd, double low,
                                        double high) {
    const bool mostly_inside = normal_cdf((high - mean) / sd) - normal_cdf((low - mean) / sd) > 0.3;
    if (!mostly_inside && !isfinite((REAL)high - (REAL)low)) return too_many_rounds(low, high);
    REAL *scratch = sow_reallocate(NULL, (size_t)n * (2 * sizeof *scratch + 1) + 1);
    if (scratch == NULL) return SOW_E_MEMORY;
    sow_status status;
    if (mostly_inside) {
        status = NAMED(reject_normals)(rng, out, scratch, n, mean, sd, (REAL)low, (REAL)high);
    } else {
        double peak = (fmax(low, fmin(mean, high)) - mean) / sd;
        density d = {mean, sd, -0.5 * (peak * peak)};
        status = NAMED(reject_uniforms)(rng, out, scratch, scratch + n, (uint8_t *)(scratch + 2 * n), n, d, low, high);
    }
    sow_release(scratch);
    return status;
}
