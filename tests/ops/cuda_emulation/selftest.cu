// Kernels with and without faults, for tests/ops/test_cuda_emulation.py. They compile with nvcc too: they are CUDA.
#include "../../../csrc/common/cuda_scalar.h"

namespace bevkd::cuda {
namespace {

// out[block] = sum over the block's threads of in
__global__ void block_sum(const int* in, int count, int* out) {
  BEVKD_SHARED int partial[kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  int value = at < count ? in[at] : 0;
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_down_sync(kFullWarp, value, step);
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (unsigned w = 1; w < blockDim.x / kWarp; ++w) value += partial[w];
  out[blockIdx.x] = value;
}

// out[lane] = ballot of odd values, minimum over the lanes below in a half warp, the value of lane 3 of each eight
__global__ void warp_tricks(const int* in, int* out) {
  const int lane = threadIdx.x, value = in[lane];
  out[lane] = static_cast<int>(__ballot_sync(kFullWarp, value % 2));
  const int below = __shfl_up_sync(kFullWarp, value, 1, 16);
  out[kWarp + lane] = min(value, below);
  out[2 * kWarp + lane] = __shfl_sync(kFullWarp, value, 3, 8);
  if (lane < 4) out[3 * kWarp + lane] = __shfl_xor_sync(0xfu, value, 1);
  if (lane >= 4) out[3 * kWarp + lane] = __any_sync(~0xfu, lane == 31);
}

// Reverses a block through dynamic shared memory; without the barrier it may read what is not there yet.
template <bool barrier, int spare>
__global__ void reverse(const float* in, float* out) {
  BEVKD_DYNAMIC_SHARED(float, rows);
  rows[threadIdx.x + spare] = in[threadIdx.x];
  if (barrier) __syncthreads();
  out[threadIdx.x] = rows[blockDim.x - 1 - threadIdx.x];
}

__global__ void unwritten_shared(int lanes, float* out) {
  BEVKD_SHARED float never[kWarp];
  if (static_cast<int>(threadIdx.x) < lanes) never[threadIdx.x] = 1;
  out[threadIdx.x] = never[threadIdx.x];
}

__global__ void half_a_barrier(int* out) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
    out[0] = 1;
  } else {
    __syncthreads();
  }
}

__global__ void lanes_apart(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(kFullWarp, 1, 0);
  __syncthreads();
}

__global__ void bounds(int at, int* out) {
  BEVKD_SHARED int table[8];
  table[threadIdx.x % 8] = 0;
  out[0] = table[at];
}

__global__ void misaligned(const float* in, float* out) {
  *reinterpret_cast<float4*>(out) = *reinterpret_cast<const float4*>(in + 1);
}

__global__ void nowhere(int* out) { out[0] = *static_cast<const volatile int*>(nullptr); }

__global__ void overflow(int a, int* out) { out[0] = a * 65536; }

__global__ void fill(int count, float* out) {
  if (static_cast<int>(threadIdx.x) < count) out[threadIdx.x] = 1;
}

// Ends in an order that must not matter.
__global__ void arrival(int* ticket, int* out) { out[atomicAdd(ticket, 1)] = blockIdx.x * blockDim.x + threadIdx.x; }

template <typename T>
__global__ void twice(const T* in, T* out) {
  out[threadIdx.x] = narrow<T>(2 * widen(in[threadIdx.x]));
}

}  // namespace

void run_selftest(int which, const void* in, void* out, int extra, cudaStream_t stream) {
  const auto* ints = static_cast<const int*>(in);
  const auto* floats = static_cast<const float*>(in);
  auto* int_out = static_cast<int*>(out);
  auto* float_out = static_cast<float*>(out);
  switch (which) {
    case 0: return BEVKD_LAUNCH(block_sum, blocks_for(extra, 64), 64, 0, stream, ints, extra, int_out);
    case 1: return BEVKD_LAUNCH(warp_tricks, 1, kWarp, 0, stream, ints, int_out);
    case 2: return BEVKD_LAUNCH((reverse<true, 0>), 1, 128, 128 * sizeof(float), stream, floats, float_out);
    case 3: return BEVKD_LAUNCH((reverse<false, 0>), 1, 128, 128 * sizeof(float), stream, floats, float_out);
    case 4: return BEVKD_LAUNCH((reverse<true, 1>), 1, 128, 128 * sizeof(float), stream, floats, float_out);
    case 5: return BEVKD_LAUNCH(unwritten_shared, 1, kWarp, 0, stream, extra, float_out);
    case 6: return BEVKD_LAUNCH(half_a_barrier, 1, 64, 0, stream, int_out);
    case 7: return BEVKD_LAUNCH(lanes_apart, 1, kWarp, 0, stream, int_out);
    case 8: return BEVKD_LAUNCH(bounds, 1, kWarp, 0, stream, extra, int_out);
    case 9: return BEVKD_LAUNCH(misaligned, 1, 1, 0, stream, floats, float_out);
    case 10: return BEVKD_LAUNCH(overflow, 1, 1, 0, stream, extra, int_out);
    case 11: return BEVKD_LAUNCH(arrival, 4, 64, 0, stream, int_out + 256, int_out);
    case 12:
      return BEVKD_LAUNCH(twice<__half>, 1, kWarp, 0, stream, static_cast<const __half*>(in),
                          static_cast<__half*>(out));
    case 13:
      return BEVKD_LAUNCH(twice<__nv_bfloat16>, 1, kWarp, 0, stream, static_cast<const __nv_bfloat16*>(in),
                          static_cast<__nv_bfloat16*>(out));
    case 16: return BEVKD_LAUNCH(nowhere, 1, 1, 0, stream, int_out);
    case 15: return BEVKD_LAUNCH(fill, 1, 128, 0, stream, extra, float_out);
    default: return BEVKD_LAUNCH(twice<float>, 1, extra, 0, stream, floats, float_out);
  }
}

}  // namespace bevkd::cuda

// Empty when all went well, else what was thrown.
extern "C" __attribute__((visibility("default"))) const char* bevkd_selftest(int which, const void* in, void* out,
                                                                              int extra) {
  static std::string message;
  message.clear();
  try {
    bevkd::cuda::run_selftest(which, in, out, extra, nullptr);
  } catch (const std::exception& error) {
    message = error.what();
  }
  return message.c_str();
}
