// CUDA kernels, compiled where nvcc is: ATen's element-wise launcher does vectorised loads for dense
// operands, strided ones for the rest, and takes a zero-dimensional CPU tensor as a constant.
#include <ATen/Dispatch.h>
#include <ATen/native/cuda/Loops.cuh>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "elementwise.h"

namespace torchmodes {
namespace {

template <typename Operation>
at::Tensor kernel(const at::Tensor& self, const at::Tensor& other) {
  RECORD_FUNCTION(Operation::span, std::vector<c10::IValue>({self, other}));
  auto iterator = make_iterator(self, other);
  const c10::cuda::CUDAGuard device_guard(iterator.device());
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, iterator.common_dtype(), "torchmodes_cuda", [&] {
        at::native::gpu_kernel_with_scalars(
            iterator,
            [] GPU_LAMBDA(scalar_t a, scalar_t b) -> scalar_t { return Operation{}(a, b); });
      });
  return iterator.output();
}

}  // namespace

TORCH_LIBRARY_IMPL(torchmodes, CUDA, library) {
  library.impl("add", &kernel<Add>);
  library.impl("multiply", &kernel<Multiply>);
}

}  // namespace torchmodes
