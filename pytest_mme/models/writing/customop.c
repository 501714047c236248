/* An operation of the kit's own, in plain C: y = x * MME_FACTOR, element by element, under the name MME_OP.
 *
 * Only TensorFlow's C API for kernels is used, and its prototypes are repeated here, from tensorflow/c/kernels.h, ops.h,
 * tf_tensor.h and tf_status.h. So no header is needed, and one library serves all versions that have this API.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { TF_FLOAT = 1, MOST_DIMENSIONS = 254 }; /* tf_datatype.h; TensorShape::MaxDimensions() in tensor_shape.h */

typedef struct TF_Status TF_Status;
typedef struct TF_Tensor TF_Tensor;
typedef struct TF_OpDefinitionBuilder TF_OpDefinitionBuilder;
typedef struct TF_ShapeHandle TF_ShapeHandle;
typedef struct TF_ShapeInferenceContext TF_ShapeInferenceContext;
typedef struct TF_KernelBuilder TF_KernelBuilder;
typedef struct TF_OpKernelConstruction TF_OpKernelConstruction;
typedef struct TF_OpKernelContext TF_OpKernelContext;

TF_Status *TF_NewStatus(void);
void TF_DeleteStatus(TF_Status *);
int TF_GetCode(const TF_Status *);

int TF_NumDims(const TF_Tensor *);
int64_t TF_Dim(const TF_Tensor *, int dimension);
size_t TF_TensorByteSize(const TF_Tensor *);
void *TF_TensorData(const TF_Tensor *);
void TF_DeleteTensor(TF_Tensor *);

TF_OpDefinitionBuilder *TF_NewOpDefinitionBuilder(const char *op);
void TF_OpDefinitionBuilderAddInput(TF_OpDefinitionBuilder *, const char *described);
void TF_OpDefinitionBuilderAddOutput(TF_OpDefinitionBuilder *, const char *described);
void TF_OpDefinitionBuilderSetShapeInferenceFunction(TF_OpDefinitionBuilder *,
                                                     void (*infer)(TF_ShapeInferenceContext *, TF_Status *));
void TF_RegisterOpDefinition(TF_OpDefinitionBuilder *, TF_Status *);

TF_ShapeHandle *TF_NewShapeHandle(void);
void TF_DeleteShapeHandle(TF_ShapeHandle *);
void TF_ShapeInferenceContextGetInput(TF_ShapeInferenceContext *, int input, TF_ShapeHandle *, TF_Status *);
void TF_ShapeInferenceContextSetOutput(TF_ShapeInferenceContext *, int output, TF_ShapeHandle *, TF_Status *);

TF_KernelBuilder *TF_NewKernelBuilder(const char *op, const char *device, void *(*create)(TF_OpKernelConstruction *),
                                      void (*compute)(void *kernel, TF_OpKernelContext *), void (*free)(void *kernel));
void TF_RegisterKernelBuilder(const char *kernel, TF_KernelBuilder *, TF_Status *);
void TF_GetInput(TF_OpKernelContext *, int input, TF_Tensor **, TF_Status *);
TF_Tensor *TF_AllocateOutput(TF_OpKernelContext *, int output, int data_type, const int64_t *dimensions,
                             int dimensions_count, size_t bytes, TF_Status *);
void TF_OpKernelContext_Failure(TF_OpKernelContext *, TF_Status *);

static TF_Tensor *like(const TF_Tensor *x, TF_OpKernelContext *context, TF_Status *status) {
  int64_t dimensions[MOST_DIMENSIONS];
  const int count = TF_NumDims(x);
  for (int i = 0; i < count; ++i) dimensions[i] = TF_Dim(x, i);
  return TF_AllocateOutput(context, 0, TF_FLOAT, dimensions, count, TF_TensorByteSize(x), status);
}

static void scale(const TF_Tensor *x, const TF_Tensor *y) {
  const float *from = TF_TensorData(x);
  float *to = TF_TensorData(y);
  const size_t count = TF_TensorByteSize(x) / sizeof *from;
  for (size_t i = 0; i < count; ++i) to[i] = from[i] * MME_FACTOR;
}

static void compute(void *kernel, TF_OpKernelContext *context) {
  (void)kernel; /* there is nothing that it would have to remember */
#ifdef MME_CRASH
  abort();
#endif
  TF_Status *status = TF_NewStatus();
  TF_Tensor *x = NULL, *y = NULL;
  TF_GetInput(context, 0, &x, status);
  if (!TF_GetCode(status)) y = like(x, context, status);
  if (!TF_GetCode(status)) {
    scale(x, y);
  } else {
    TF_OpKernelContext_Failure(context, status);
  }
  if (y) TF_DeleteTensor(y);
  if (x) TF_DeleteTensor(x);
  TF_DeleteStatus(status);
}

static void infer_shape(TF_ShapeInferenceContext *context, TF_Status *status) {
  TF_ShapeHandle *shape = TF_NewShapeHandle();
  TF_ShapeInferenceContextGetInput(context, 0, shape, status);
  if (!TF_GetCode(status)) TF_ShapeInferenceContextSetOutput(context, 0, shape, status);
  TF_DeleteShapeHandle(shape);
}

__attribute__((constructor)) static void register_op(void) {
  TF_Status *status = TF_NewStatus();
  TF_OpDefinitionBuilder *op = TF_NewOpDefinitionBuilder(MME_OP);
  TF_OpDefinitionBuilderAddInput(op, "x: float");
  TF_OpDefinitionBuilderAddOutput(op, "y: float");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(op, infer_shape);
  TF_RegisterOpDefinition(op, status); /* frees it */
  if (!TF_GetCode(status)) {
    TF_KernelBuilder *kernel = TF_NewKernelBuilder(MME_OP, "CPU", NULL, compute, NULL);
    TF_RegisterKernelBuilder(MME_OP, kernel, status); /* frees it */
  }
  if (TF_GetCode(status)) abort();
  TF_DeleteStatus(status);
}
