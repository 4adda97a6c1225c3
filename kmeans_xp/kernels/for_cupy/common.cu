// What every source begins with: types, loads, sums over a warp and over a block. Points are
// read as In, computed in T (float or double) and summed in double. Every sum is taken in an
// order that the launch alone decides: no floating-point atomics, so the same input gives the
// same bits.
//
// Row indices are 64-bit wherever n_points can exceed 2^31; within a tile of rows they are int.

typedef long long i64;

#define THREADS 256
#define FULL_MASK 0xffffffffu

struct Half { unsigned short bits; };
struct Bfloat16 { unsigned short bits; };

// No header for half precision: its place differs between CUDA installations.
template <typename T> __device__ __forceinline__ T loaded(float value) { return value; }
template <typename T> __device__ __forceinline__ T loaded(double value) { return value; }
template <typename T> __device__ __forceinline__ T loaded(Half value) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
}
template <typename T> __device__ __forceinline__ T loaded(Bfloat16 value) {
    return __int_as_float(static_cast<int>(value.bits) << 16);
}

__device__ __forceinline__ double warp_sum(double value) {
    for (int step = 16; step > 0; step >>= 1) {
        value += __shfl_down_sync(FULL_MASK, value, step);
    }
    return value;
}

// The sum over a block of THREADS threads, in thread 0.
__device__ double block_sum(double value) {
    __shared__ double of_warp[THREADS / 32];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    double total = 0.0;
    if (threadIdx.x == 0) {
        for (int warp = 0; warp < THREADS / 32; ++warp) total += of_warp[warp];
    }
    __syncthreads();
    return total;
}
