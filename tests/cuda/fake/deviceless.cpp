// The real cuDNN, asked to plan a convolution for a GPU that is not there: since 9.11 its graph
// interface takes a GPU's description (JSON) in the place of a handle. (DEVICEPROP descriptors, as
// in NVIDIA's cudnn-frontend, deviceless_aot_compilation.cpp.)
#include "tests/cuda/fake/deviceless.h"

#include <cudnn.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

#if CUDNN_VERSION >= 91100

void check(
    cudnnStatus_t status,
    const char* what) {  // by number: the functions that name it are the fake's in this module
  if (status != CUDNN_STATUS_SUCCESS)
    throw std::runtime_error(std::string(what) + ": cuDNN status " + std::to_string(int(status)));
}

class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(cudnnBackendCreateDescriptor(type, &held_), "cudnnBackendCreateDescriptor");
  }
  ~Descriptor() { cudnnBackendDestroyDescriptor(held_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                  const std::vector<T>& values) {
    check(cudnnBackendSetAttribute(held_, name, type, std::int64_t(values.size()), values.data()),
          "cudnnBackendSetAttribute");
    return *this;
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    return set<cudnnBackendDescriptor_t>(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, {other.held_});
  }
  Descriptor& finish(const char* what) {
    check(cudnnBackendFinalize(held_), what);
    return *this;
  }
  template <class T>  // as many values as there are, `most` at most
  std::vector<T> get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                     std::int64_t most) const {
    std::vector<T> values(most);
    std::int64_t count = 0;
    check(cudnnBackendGetAttribute(held_, name, type, most, &count, values.data()),
          "cudnnBackendGetAttribute");
    values.resize(std::min(count, most));
    return values;
  }
  cudnnBackendDescriptor_t get() const { return held_; }

 private:
  cudnnBackendDescriptor_t held_ = nullptr;
};

using Indices = std::vector<std::int64_t>;

// N, H, W, C in memory; dimensions are named N, C, H, W. Of a filter: O, K, K, I in memory; O, I,
// K, K
std::unique_ptr<Descriptor> tensor(std::int64_t id, std::int64_t n, std::int64_t c, std::int64_t h,
                                   std::int64_t w) {
  auto d = std::make_unique<Descriptor>(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  d->set<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT});
  d->set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, Indices{n, c, h, w});
  d->set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, Indices{h * w * c, 1, w * c, c});
  d->set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, Indices{id});
  d->set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, Indices{16});
  d->finish("tensor");
  return d;
}

struct Names {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
};
const Names names[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};

bool noted(const Descriptor& engine, cudnnBackendNumericalNote_t note) {
  auto notes = engine.get<cudnnBackendNumericalNote_t>(
      CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

// The first plan, by cuDNN's own order, that tensor/cuda/conv.cu would take by default
// (Convolutions::choose)
void plan(const char* json, const DevicelessConvolution& c, DevicelessPlan& out) {
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
             std::vector<char>(json, json + std::strlen(json) + 1));
  device.finish("the GPU's description");

  const std::int64_t side_out = (c.side + 2 * c.padding - c.kernel) / c.stride + 1;
  auto x = tensor('x', c.batch, c.in, c.side, c.side),
       y = tensor('y', c.batch, c.out, side_out, side_out);
  auto w = tensor('w', c.out, c.in / c.groups, c.kernel, c.kernel);
  Descriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  convolution.set<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE,
                                   {CUDNN_DATA_FLOAT});
  convolution.set<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE,
                                          CUDNN_TYPE_CONVOLUTION_MODE, {CUDNN_CROSS_CORRELATION});
  convolution.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, Indices{2});
  convolution.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64,
                  Indices{c.padding, c.padding});
  convolution.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64,
                  Indices{c.padding, c.padding});
  convolution.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, Indices{1, 1});
  convolution.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64,
                  Indices{c.stride, c.stride});
  convolution.finish("convolution");

  const Names& n = names[c.kind];
  Descriptor operation(n.operation);
  operation.set(n.convolution, convolution).set(n.x, *x).set(n.w, *w).set(n.y, *y);
  operation.set<double>(n.alpha, CUDNN_TYPE_DOUBLE, {1})
      .set<double>(n.beta, CUDNN_TYPE_DOUBLE, {0})
      .finish("operation");
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation).finish("graph");

  for (cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
        .set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
    heuristic.set<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, {mode})
        .finish("heuristic");
    std::int64_t count = 0;
    check(cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                   CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr),
          "results");
    std::vector<std::unique_ptr<Descriptor>> configurations;
    std::vector<cudnnBackendDescriptor_t> handles;
    for (std::int64_t i = 0; i < count; i++) {
      configurations.push_back(std::make_unique<Descriptor>(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
      handles.push_back(configurations.back()->get());
    }
    check(cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                   CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count, handles.data()),
          "results");
    for (std::int64_t i = 0; i < count; i++) {
      out.offered++;
      Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
      cudnnBackendDescriptor_t held = engine.get();
      std::int64_t one = 0;
      check(cudnnBackendGetAttribute(handles[i], CUDNN_ATTR_ENGINECFG_ENGINE,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one, &held),
            "engine");
      if (c.exact && (noted(engine, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) ||
                      noted(engine, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) ||
                      noted(engine, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS) ||
                      noted(engine, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)))
        continue;
      Descriptor candidate(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      candidate.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, *configurations[i])
          .set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device);
      if (cudnnBackendFinalize(candidate.get()) != CUDNN_STATUS_SUCCESS) continue;
      const auto workspace =
          candidate.get<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1)
              .at(0);
      if (workspace > c.workspace_limit) continue;
      out.found = 1, out.workspace = workspace;
      return;
    }
  }
}

#else
void plan(const char*, const DevicelessConvolution&, DevicelessPlan&) {
  throw std::runtime_error("cuDNN is older than 9.11");
}
#endif

}  // namespace

extern "C" const char* fission_deviceless_plan(const char* device, const DevicelessConvolution* c,
                                               DevicelessPlan* out) {
  static std::string said;
  try {
    *out = {};
    plan(device, *c, *out);
    return nullptr;
  } catch (const std::exception& e) {
    return (said = e.what()).c_str();
  }
}
