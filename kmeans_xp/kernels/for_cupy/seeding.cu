// Distances by differences: of assigned rows, and of the candidates of k-means++; and random
// numbers of rows.

// The squared distance of each row to centroid labels[row]; a warp a row.
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS)
assigned_distances(const In* points, const T* origin, const int* labels, const T* centroids,
                   i64 n_points, int n_features, T* out) {
    i64 row = (static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (row >= n_points) return;
    const In* of_row = points + row * n_features;
    const T* centroid = centroids + static_cast<i64>(labels[row]) * n_features;
    T sum = 0;
    for (int feature = threadIdx.x % 32; feature < n_features; feature += 32) {
        T value = loaded<T>(of_row[feature]);
        T difference = (origin ? value - origin[feature] : value) - centroid[feature];
        sum += difference * difference;
    }
    for (int step = 16; step > 0; step >>= 1) sum += __shfl_down_sync(FULL_MASK, sum, step);
    if (threadIdx.x % 32 == 0) out[row] = sum;
}

// For L candidates at once: the weighted sum of min(closest, squared distance) over the rows of
// a block. Candidates lie in shared memory; a row's numbers are read once.
template <typename In, typename T, int L>
__global__ void __launch_bounds__(THREADS)
potentials(const In* points, const T* weights, const T* origin, const T* closest,
           const T* candidates, i64 n_points, int n_features, int n_candidates,
           i64 rows_per_block, double* partials) {
    extern __shared__ double shared[];
    T* own = reinterpret_cast<T*>(shared);  // L x n_features, zero past n_candidates
    for (int at = threadIdx.x; at < L * n_features; at += THREADS) {
        own[at] = at < n_candidates * n_features ? candidates[at] : T(0);
    }
    __syncthreads();
    double totals[L];
#pragma unroll
    for (int c = 0; c < L; ++c) totals[c] = 0.0;
    i64 begin = blockIdx.x * rows_per_block;
    i64 end = min(begin + rows_per_block, n_points);
    for (i64 row = begin + threadIdx.x; row < end; row += THREADS) {
        T distances[L];
#pragma unroll
        for (int c = 0; c < L; ++c) distances[c] = 0;
#pragma unroll 2  // more makes doubles spill registers
        for (int feature = 0; feature < n_features; ++feature) {
            T value = loaded<T>(points[row * n_features + feature]);
            if (origin) value -= origin[feature];
#pragma unroll
            for (int c = 0; c < L; ++c) {
                T difference = value - own[c * n_features + feature];
                distances[c] += difference * difference;
            }
        }
        double weight = weights ? weights[row] : 1.0;
        T so_far = closest[row];
#pragma unroll
        for (int c = 0; c < L; ++c) totals[c] += weight * min(distances[c], so_far);
    }
#pragma unroll
    for (int c = 0; c < L; ++c) {
        double total = block_sum(totals[c]);
        if (threadIdx.x == 0 && c < n_candidates) {
            partials[static_cast<i64>(blockIdx.x) * n_candidates + c] = total;
        }
    }
}

// min(closest, squared distance to the one candidate).
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS)
fold_candidate(const In* points, const T* origin, const T* closest, const T* candidate,
               i64 n_points, int n_features, T* out) {
    i64 row = static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x;
    if (row >= n_points) return;
    T distance = 0;
    for (int feature = 0; feature < n_features; ++feature) {
        T value = loaded<T>(points[row * n_features + feature]);
        if (origin) value -= origin[feature];
        T difference = value - candidate[feature];
        distance += difference * difference;
    }
    out[row] = min(distance, closest[row]);
}

// ---- random numbers of rows: Philox4x64-10 (Salmon et al., SC 2011), as NumPy makes them ----

// Word row % 4 of the block whose counter is (row / 4 + 1, stream, 0, 0): NumPy counts, then
// makes the block.
extern "C" __global__ void __launch_bounds__(THREADS)
philox_uniforms(i64 start, i64 n_points, unsigned long long key0, unsigned long long key1,
                unsigned long long stream, double* out) {
    i64 at = static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x;
    if (at >= n_points) return;
    unsigned long long row = start + at;
    unsigned long long c0 = row / 4 + 1, c1 = stream, c2 = 0, c3 = 0;
    for (int round = 0; round < 10; ++round) {
        const unsigned long long m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
        unsigned long long high0 = __umul64hi(m0, c0), low0 = m0 * c0;
        unsigned long long high1 = __umul64hi(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
    unsigned long long word = row % 4 == 0 ? c0 : row % 4 == 1 ? c1 : row % 4 == 2 ? c2 : c3;
    out[at] = static_cast<double>(word >> 11) * (1.0 / 9007199254740992.0);
}
