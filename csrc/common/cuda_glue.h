// What the torch side of a CUDA kernel (csrc/<op>/<op>_cuda.cpp) needs: the dispatch key, the device and the stream.
// Under the emulation of the tests the key is CPU and the rest is trivial.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include <initializer_list>

#include "cuda_launch.h"
#include "cuda_scalar.h"

#ifdef BEVKD_EMULATED_CUDA
#define BEVKD_CUDA_KEY CPU
#else
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#define BEVKD_CUDA_KEY CUDA
#endif

namespace bevkd::cuda {

// While it lives, the device of `tensor` is current; stream() is torch's current stream on it.
class OnDeviceOf {
 public:
#ifdef BEVKD_EMULATED_CUDA
  explicit OnDeviceOf(const at::Tensor&) {}
  cudaStream_t stream() const { return nullptr; }
#else
  explicit OnDeviceOf(const at::Tensor& tensor) : guard_(tensor.device()) {}
  cudaStream_t stream() const { return c10::cuda::getCurrentCUDAStream().stream(); }

 private:
  c10::cuda::CUDAGuard guard_;
#endif
};

struct Named {
  const char* name;
  const at::Tensor& tensor;
};

// ValueError unless every tensor is where the first one is: a kernel would read another device's memory, or crash.
inline void check_one_device(std::initializer_list<Named> tensors) {
  const Named& first = *tensors.begin();
  for (const Named& other : tensors) {
    TORCH_CHECK_VALUE(other.tensor.device() == first.tensor.device(), other.name, " is on ", other.tensor.device(),
                      ", expected ", first.tensor.device(), ", where ", first.name, " is");
  }
}

// The kernel's name of a torch scalar: __half for at::Half, __nv_bfloat16 for at::BFloat16.
template <typename T>
struct KernelScalar {
  using type = T;
};
template <>
struct KernelScalar<at::Half> {
  using type = __half;
};
template <>
struct KernelScalar<at::BFloat16> {
  using type = __nv_bfloat16;
};

template <typename T>
const typename KernelScalar<T>::type* read(const at::Tensor& tensor) {
  return reinterpret_cast<const typename KernelScalar<T>::type*>(tensor.const_data_ptr<T>());
}
template <typename T>
typename KernelScalar<T>::type* write(const at::Tensor& tensor) {
  return reinterpret_cast<typename KernelScalar<T>::type*>(tensor.mutable_data_ptr<T>());
}

}  // namespace bevkd::cuda
