// The operation of customop.c in C++: y = x * MME_FACTOR, element by element, under the name MME_OP.
//
// Written against the headers of one TensorFlow, and of use to that version alone. A shape function of one's own would
// return `Status()` up to 2.12 and `absl::OkStatus()` later; TensorFlow's own is the same in all.
#include <cstdlib>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"

REGISTER_OP(MME_OP).Input("x: float").Output("y: float").SetShapeFn(tensorflow::shape_inference::UnchangedShape);

namespace {

class Scale : public tensorflow::OpKernel {
 public:
  explicit Scale(tensorflow::OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(tensorflow::OpKernelContext* context) override {
#ifdef MME_CRASH
    std::abort();
#endif
    const tensorflow::Tensor& x = context->input(0);
    tensorflow::Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &y));
    const auto from = x.flat<float>();
    auto to = y->flat<float>();
    for (Eigen::Index i = 0; i < from.size(); ++i) to(i) = from(i) * MME_FACTOR;
  }
};

REGISTER_KERNEL_BUILDER(Name(MME_OP).Device(tensorflow::DEVICE_CPU), Scale);

}  // namespace
