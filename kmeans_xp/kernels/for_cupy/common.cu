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

// ---- the arithmetic of scores ----
//
// One arithmetic defines the labels, on every path: x = point - origin, rounded once; the score
// of a centroid is |c|^2, summed in double in the order of the features and rounded once, then a
// chain of fused multiply-adds, x * (-2 c), in the order of the features. The least score wins,
// of equal ones the first. Nothing but the row and the centroids decides.

// CuPy compiles with -ftz=true, but scores below 1e-38 decide between rows of 1e-20: nothing here
// is flushed to zero.
__device__ __forceinline__ float fused(float a, float b, float c) {
    return __fmaf_ieee_rn(a, b, c);
}
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }
__device__ __forceinline__ bool is_less(float a, float b) {
    unsigned is;
    asm("set.lt.u32.f32 %0, %1, %2;" : "=r"(is) : "f"(a), "f"(b));
    return is;
}
__device__ __forceinline__ bool is_less(double a, double b) { return a < b; }

__device__ __forceinline__ double widened(double value) { return value; }
__device__ __forceinline__ double widened(float value) {
    double wide;
    asm("cvt.f64.f32 %0, %1;" : "=d"(wide) : "f"(value));
    return wide;
}
__device__ __forceinline__ void narrow(double value, double& to) { to = value; }
__device__ __forceinline__ void narrow(double value, float& to) {
    asm("cvt.rn.f32.f64 %0, %1;" : "=f"(to) : "d"(value));
}

template <typename T>
__device__ __forceinline__ T less(T point, T origin) { return fused(origin, T(-1), point); }
template <typename T>
__device__ __forceinline__ T minus_twice(T centroid) { return fused(centroid, T(-2), T(0)); }

// |c|^2, in the CPU's order.
template <typename T>
__device__ T sq_norm_of(const T* centroid, int n_features) {
    double sum = 0.0;
#pragma unroll 4
    for (int feature = 0; feature < n_features; ++feature) {
        double value = widened(centroid[feature]);
        sum = __dadd_rn(sum, __dmul_rn(value, value));
    }
    T rounded;
    narrow(sum, rounded);
    return rounded;
}
