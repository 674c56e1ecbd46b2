/* The cells of attention for one type. Included by attention.c with REAL, NAME(x), EXP, LOG and GEMM defined. */

/* n rows of a head from row `first` on (rows `stride` apart), turned by their positions or, sign -1, back. */
SOW_CLONES static void NAME(turn)(const REAL *restrict x, int64_t stride, const REAL *restrict rotary, int64_t first,
                                  int64_t n, int64_t d, REAL sign, REAL *restrict y) {
    for (int64_t r = 0; r < n; r++) {
        const REAL *from = x + r * stride, *cosine = rotary + (first + r) * d, *sine = cosine + d / 2;
        REAL *to = y + r * d;
        for (int64_t m = 0; m < d / 2; m++) {
            REAL p = from[m], q = from[m + d / 2], s = sign * sine[m];
            to[m] = p * cosine[m] - q * s;
            to[m + d / 2] = q * cosine[m] + p * s;
        }
    }
}

/* The same without positions: packed. */
static void NAME(take)(const attend *a, const REAL *x, int64_t stride, int64_t first, int64_t n, REAL *y) {
    if (a->a.rotary.data) NAME(turn)(x, stride, a->a.rotary.data, first, n, a->d, 1, y);
    else
        for (int64_t r = 0; r < n; r++) memcpy(y + r * a->d, x + r * stride, (size_t)a->d * sizeof *y);
}

/* Back into rows `stride` apart, overwriting or adding; x is turned back in place first. */
static void NAME(put)(const attend *a, REAL *x, int64_t first, int64_t n, bool add, int64_t stride, REAL *y) {
    REAL row[HEAD_MAX];
    for (int64_t r = 0; r < n; r++) {
        const REAL *from = x + r * a->d;
        if (a->a.rotary.data) {
            NAME(turn)(from, a->d, a->a.rotary.data, first + r, 1, a->d, -1, row);
            from = row;
        }
        for (int64_t i = 0; i < a->d; i++) y[r * stride + i] = (add ? y[r * stride + i] : 0) + from[i];
    }
}

/* Softmax of scale * s over [low, high), 0 elsewhere; returns log sum exp. */
SOW_CLONES static REAL NAME(softmax)(REAL *restrict s, int64_t n, int64_t low, int64_t high, REAL scale) {
    REAL largest = s[low], sum = 0, lane[16] = {0};
    for (int64_t j = low; j < high; j++) largest = s[j] > largest ? s[j] : largest;
    for (int64_t j = 0; j < low; j++) s[j] = 0;
    for (int64_t j = high; j < n; j++) s[j] = 0;
    int64_t whole = low + (high - low) / 16 * 16;
    for (int64_t j = low; j < whole; j += 16)
        for (int i = 0; i < 16; i++) lane[i] += s[j + i] = EXP(scale * (s[j + i] - largest));
    for (int64_t j = whole; j < high; j++) lane[j - whole] += s[j] = EXP(scale * (s[j] - largest));
    for (int i = 0; i < 16; i++) sum += lane[i];
    REAL factor = 1 / sum;
    for (int64_t j = low; j < high; j++) s[j] *= factor;
    return LOG(sum) + scale * largest;
}

/* The same again from the log sum exp. */
SOW_CLONES static void NAME(softmax_again)(REAL *restrict s, int64_t n, int64_t low, int64_t high, REAL scale,
                                           REAL lse) {
    for (int64_t j = 0; j < low; j++) s[j] = 0;
    for (int64_t j = high; j < n; j++) s[j] = 0;
    for (int64_t j = low; j < high; j++) s[j] = EXP(scale * s[j] - lse);
}

/* From probabilities and their gradients to the gradient of the scores, over dp. */
SOW_CLONES static void NAME(score_gradient)(const REAL *restrict p, REAL *restrict dp, int64_t n, REAL delta,
                                            REAL scale) {
    for (int64_t j = 0; j < n; j++) dp[j] = p[j] * (dp[j] - delta) * scale;
}

SOW_CLONES static REAL NAME(dot)(const REAL *restrict a, const REAL *restrict b, int64_t n) {
    REAL sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* One block of query rows of one head: o = softmax(q k^T) v. */
static void NAME(forward_block)(const attend_job *j, block b) {
    const attend *a = j->a;
    int64_t d = a->d, width = a->a.heads * d, kv_width = a->a.kv_heads * d, n = b.last_key - b.first_key;
    const REAL *q = (const REAL *)j->q + (b.start + b.row) * width + b.head * d;
    const REAL *k = (const REAL *)j->k + (b.start + b.first_key) * kv_width + b.kv_head * d;
    const REAL *v = (const REAL *)j->v + (b.start + b.first_key) * kv_width + b.kv_head * d;
    REAL *o = (REAL *)j->o + (b.start + b.row) * width + b.head * d,
         *lse = (REAL *)j->lse + b.head * a->rows + b.start + b.row;
    REAL *qs = worker_scratch(j), *ks = qs + BLOCK * d, *s = ks + a->longest * d;
    NAME(take)(a, q, width, b.row, b.rows, qs);
    NAME(take)(a, k, kv_width, b.first_key, n, ks);
    GEMM(false, true, b.rows, n, d, 1, qs, d, ks, d, 0, s, n);
    for (int64_t r = 0; r < b.rows; r++) {
        keys seen = keys_of(a, b, r);
        lse[r] = NAME(softmax)(s + r * n, n, seen.low, seen.high, (REAL)a->a.scale);
    }
    GEMM(false, false, b.rows, d, n, 1, s, n, v, kv_width, 0, o, width);
}

/* One block's share of the gradients: dq of its rows; dk, dv of the keys it sees are added to the sums of the head. */
static void NAME(backward_block)(const attend_job *j, block b, const REAL *ks, REAL *dk, REAL *dv, REAL *scratch) {
    const attend *a = j->a;
    int64_t d = a->d, width = a->a.heads * d, kv_width = a->a.kv_heads * d, n = b.last_key - b.first_key;
    int64_t at = (b.start + b.row) * width + b.head * d;
    const REAL *q = (const REAL *)j->q + at, *o = (const REAL *)j->o + at, *dy = (const REAL *)j->dy + at;
    const REAL *v = (const REAL *)j->v + (b.start + b.first_key) * kv_width + b.kv_head * d;
    const REAL *lse = (const REAL *)j->lse + b.head * a->rows + b.start + b.row;
    REAL *qs = scratch, *dq = qs + BLOCK * d, *s = dq + BLOCK * d, *dp = s + BLOCK * a->longest,
         scale = (REAL)a->a.scale;
    NAME(take)(a, q, width, b.row, b.rows, qs);
    GEMM(false, true, b.rows, n, d, 1, qs, d, ks + b.first_key * d, d, 0, s, n);
    GEMM(false, true, b.rows, n, d, 1, dy, width, v, kv_width, 0, dp, n);
    for (int64_t r = 0; r < b.rows; r++) {
        keys seen = keys_of(a, b, r);
        NAME(softmax_again)(s + r * n, n, seen.low, seen.high, scale, lse[r]);
        NAME(score_gradient)(s + r * n, dp + r * n, n, NAME(dot)(o + r * width, dy + r * width, d), scale);
    }
    if (dv) GEMM(true, false, n, d, b.rows, 1, s, n, dy, width, 1, dv + b.first_key * d, d);
    if (dk) GEMM(true, false, n, d, b.rows, 1, dp, n, qs, d, 1, dk + b.first_key * d, d);
    if (!j->dq) return;
    GEMM(false, false, b.rows, d, n, 1, dp, n, ks + b.first_key * d, d, 0, dq, d);
    NAME(put)(a, dq, b.row, b.rows, j->beta_q != 0, width, (REAL *)j->dq + at);
}

/* All blocks of all query heads that share a key head, in order: the sums of dk and dv always grow alike. */
static void NAME(backward_head)(const attend_job *j, int64_t sequence, int64_t kv_head) {
    const attend *a = j->a;
    int64_t d = a->d, kv_width = a->a.kv_heads * d, start = a->a.start[sequence], n = a->a.start[sequence + 1] - start;
    int64_t group = a->a.heads / a->a.kv_heads, at = start * kv_width + kv_head * d;
    REAL *ks = worker_scratch(j), *dk = ks + a->longest * d, *dv = dk + a->longest * d, *scratch = dv + a->longest * d;
    NAME(take)(a, (const REAL *)j->k + at, kv_width, 0, n, ks);
    memset(dk, 0, (size_t)(2 * a->longest * d) * sizeof *dk);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (int64_t row = 0; row < n; row += BLOCK)
            NAME(backward_block)
            (j, block_of(a, sequence, head, row), ks, j->dk ? dk : NULL, j->dv ? dv : NULL, scratch);
    if (j->dk) NAME(put)(a, dk, 0, n, j->beta_k != 0, kv_width, (REAL *)j->dk + at);
    if (!j->dv) return;
    REAL *out = (REAL *)j->dv + at;
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < d; i++)
            out[r * kv_width + i] = (j->beta_v != 0 ? out[r * kv_width + i] : 0) + dv[r * d + i];
}
