// What the kernels of every device share: the two operations, and the iterator over their operands.
#pragma once

#include <ATen/OpMathType.h>
#include <ATen/TensorIterator.h>
#include <ATen/record_function.h>

namespace torchmodes {

// Half precisions are computed in fp32 and rounded once, as ATen does.
// `span` names the kernel in a trace, inside the span `torchmodes::add` that the dispatcher opens:
// the time between the two is autograd and dispatch.
struct Add {
  static constexpr const char* span = "torchmodes::add_kernel";

  template <typename scalar_t>
  C10_HOST_DEVICE scalar_t operator()(scalar_t a, scalar_t b) const {
    using wide_t = at::opmath_type<scalar_t>;
    return static_cast<wide_t>(a) + static_cast<wide_t>(b);
  }
};

struct Multiply {
  static constexpr const char* span = "torchmodes::multiply_kernel";

  template <typename scalar_t>
  C10_HOST_DEVICE scalar_t operator()(scalar_t a, scalar_t b) const {
    using wide_t = at::opmath_type<scalar_t>;
    return static_cast<wide_t>(a) * static_cast<wide_t>(b);
  }
};

// TensorIterator broadcasts, promotes types and allocates the result exactly as for at::add, which
// is why the fake kernel (operators/load.py) may ask torch.add for shape, strides and dtype.
inline at::TensorIterator make_iterator(const at::Tensor& self, const at::Tensor& other) {
  at::Tensor unallocated;
  auto iterator = at::TensorIterator::binary_op(unallocated, self, other);
  TORCH_CHECK_VALUE(at::isFloatingType(iterator.common_dtype()),
                    "torchmodes operators take floating-point tensors, not ", self.scalar_type(),
                    " and ", other.scalar_type());
  return iterator;
}

}  // namespace torchmodes
