#include "tensor/cpu/conv.h"

#include <algorithm>
#include <unordered_map>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/loops.h"
#include "tensor/cpu/onednn.h"
#include "tensor/cpu/pointwise.h"

namespace fission::cpu {

const bool wide = (int(dnnl::get_effective_cpu_isa()) & int(dnnl::cpu_isa::avx512_core)) ==
                  int(dnnl::cpu_isa::avx512_core);

namespace {
constexpr std::size_t most_plans =
    2048;  // a grown network brings new shapes each round; beyond this all plans are made anew
using dnnl::memory;
}  // namespace

struct ConvPlans::Library {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

struct ConvPlans::Plan {
  dnnl::primitive convolution, reorder;
  std::unordered_map<int, memory> arguments, reorder_arguments;
  memory x, w, y, plain_w,
      workspace;  // w: in the primitive's format; plain_w: ours (null if they are the same)
};

ConvPlans::ConvPlans(Arena& arena) : arena_(arena), library_(std::make_unique<Library>()) {}
ConvPlans::~ConvPlans() {
  arena_.free(filter_);
  arena_.free(workspace_);
}

void* ConvPlans::grow(void*& buffer, std::size_t& held, std::size_t bytes) {
  if (bytes > held) {
    arena_.free(buffer);
    buffer = nullptr;
    buffer = arena_.allocate(bytes);
    held = bytes;
  }
  return buffer;
}

// A pointwise convolution does not ask where a pixel lies: all of the batch as one row is what
// oneDNN runs fastest (on maps of 2×2 and 4×4, whose images it would take one by one, by 1.1 to
// 1.6 times; larger ones by a few per cent).
ConvPlans::Plan& ConvPlans::plan(ConvKind kind, Shape x, const Shape& w, Shape y,
                                 const Conv2dGeometry& g) {
  if (g == Conv2dGeometry{1, 1, 0}) {
    x = Shape{1, 1, x[0] * x[1] * x[2], x[3]};
    y = Shape{1, 1, y[0] * y[1] * y[2], y[3]};
  }
  Key key{Index(kind), x[0], x[1], x[2], x[3], w[0], g.kernel, g.stride, g.padding, threads()};
  auto found = plans_.find(key);
  if (found != plans_.end()) return *found->second;
  if (plans_.size() >= most_plans) plans_.clear();

  // Where no memory is left, oneDNN writes code through a null pointer: there is some, or it's
  // said.
  HostArena().allocate(std::size_t(16) << 20);
  using Tag = memory::format_tag;
  const dnnl::engine& engine = library_->engine;
  auto image = [](const Shape& s) {
    return memory::desc({s[0], s[3], s[1], s[2]}, memory::data_type::f32, Tag::nhwc);
  };
  memory::dims filter{w[0], w[3], g.kernel, g.kernel};
  memory::desc xd = image(x), yd = image(y), any(filter, memory::data_type::f32, Tag::any),
               plain(filter, memory::data_type::f32, Tag::ohwi);
  auto right = [&](Index in, Index out) {
    return std::max<Index>(0, (out - 1) * g.stride + g.kernel - in - g.padding);
  };
  onednn::Geometry geometry{
      {g.stride, g.stride}, {g.padding, g.padding}, {right(x[1], y[1]), right(x[2], y[2])}};
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attr.set_fpmath_mode(dnnl::fpmath_mode::strict);

  auto p = std::make_unique<Plan>();
  memory::desc wd, workspace;
  auto forward = onednn::forward(engine, xd, any, yd, geometry, attr);
  switch (kind) {
    case ConvKind::forward:
      p->convolution = dnnl::convolution_forward(forward);
      wd = forward.weights_desc();
      workspace = forward.scratchpad_desc();
      break;
    case ConvKind::backward_data: {
      auto d = onednn::backward<dnnl::convolution_backward_data>(engine, xd, any, yd, geometry,
                                                                 attr, forward);
      p->convolution = dnnl::convolution_backward_data(d);
      wd = d.weights_desc();
      workspace = d.scratchpad_desc();
      break;
    }
    case ConvKind::backward_filter: {
      auto d = onednn::backward<dnnl::convolution_backward_weights>(engine, xd, any, yd, geometry,
                                                                    attr, forward);
      p->convolution = dnnl::convolution_backward_weights(d);
      wd = d.diff_weights_desc();
      workspace = d.scratchpad_desc();
      break;
    }
  }
  p->x = memory(xd, engine, nullptr);
  p->y = memory(yd, engine, nullptr);
  p->w = memory(wd, engine, nullptr);
  p->workspace = memory(workspace, engine, nullptr);
  p->arguments = {
      {kind == ConvKind::backward_data ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, p->x},
      {kind == ConvKind::backward_filter ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, p->w},
      {kind == ConvKind::forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, p->y},
      {DNNL_ARG_SCRATCHPAD, p->workspace}};
  if (wd != plain) {
    p->plain_w = memory(plain, engine, nullptr);
    bool out = kind == ConvKind::backward_filter;
    const memory &from = out ? p->w : p->plain_w, &to = out ? p->plain_w : p->w;
    p->reorder = dnnl::reorder(from, to);
    p->reorder_arguments = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
  }
  return *(plans_[key] = std::move(p));
}

void ConvPlans::run(ConvKind kind, View x, View w, View y, const Conv2dGeometry& g) {
  const char* name = kind == ConvKind::forward         ? "conv2d"
                     : kind == ConvKind::backward_data ? "conv2d_backward_data"
                                                       : "conv2d_backward_filter";
  try {
    Plan& p = plan(kind, x.shape, w.shape, y.shape, g);
    dnnl::stream& stream = library_->stream;
    p.x.set_data_handle(x.data);
    p.y.set_data_handle(y.data);
    p.workspace.set_data_handle(
        grow(workspace_, workspace_bytes_, p.workspace.get_desc().get_size()));
    if (p.plain_w) {
      p.w.set_data_handle(grow(filter_, filter_bytes_, p.w.get_desc().get_size()));
      p.plain_w.set_data_handle(w.data);
    } else {
      p.w.set_data_handle(w.data);
    }
    bool out = kind == ConvKind::backward_filter;
    if (p.plain_w && !out) p.reorder.execute(stream, p.reorder_arguments);
    p.convolution.execute(stream, p.arguments);
    if (p.plain_w && out) p.reorder.execute(stream, p.reorder_arguments);
    stream.wait();
  } catch (const dnnl::error& e) {
    FISSION_CHECK(false, "[", name, "] x ", x.shape, ", w ", w.shape, ", y ", y.shape, ", stride ",
                  g.stride, ", padding ", g.padding, ": oneDNN says ", e.what(), " (status ",
                  int(e.status), ")");
  }
}

// To fewer than 16 channels oneDNN's convolution is the faster way, unless the sums are long: our
// own products start a tile for each few sums, and with AVX-512 leave lanes empty.
static bool as_product(const Conv2dGeometry& g, Index from, Index to) {
  return g == Conv2dGeometry{1, 1, 0} && (to >= 16 || from >= 64);
}

static void check_not_empty(const char* name, View x, View w, View y) {
  FISSION_CHECK(x.numel() > 0 && w.numel() > 0 && y.numel() > 0, "[", name, "] x ", x.shape, ", w ",
                w.shape, ", y ", y.shape, ": one of them is empty");
}

void CpuBackend::conv2d(View x, View w, const Conv2dGeometry& g, View y) {
  check_not_empty("conv2d", x, w, y);
  const Index in = x.shape[3], out = y.shape[3];
  if (!as_product(g, in, out)) return plans_->run(ConvKind::forward, x, w, y, g);
  Scratch::Frame frame(scratch_);
  pointwise(x.as<float>(), w.as<float>(), y.as<float>(), x.numel() / in, in, out, scratch_);
}

void CpuBackend::conv2d_backward_data(View dy, View w, const Conv2dGeometry& g, View dx) {
  check_not_empty("conv2d_backward_data", dx, w, dy);
  const Index in = dx.shape[3], out = dy.shape[3];
  if (!as_product(g, out, in)) return plans_->run(ConvKind::backward_data, dx, w, dy, g);
  Scratch::Frame frame(scratch_);
  pointwise_backward_data(dy.as<float>(), w.as<float>(), dx.as<float>(), dy.numel() / out, in, out,
                          scratch_);
}

// What a 1×1 filter reads of x where it leaves pixels out
static float* gather_pixels(View x, const Shape& y, Index stride, Scratch& scratch) {
  const Index height = y[1], width = y[2], channels = x.shape[3], rows = y[0] * height;
  float* read = scratch.take<float>(rows * width * channels);
#pragma omp parallel for if (worth_threads(rows * width * channels))
  for (Index row = 0; row < rows; row++)
    for (Index i = 0; i < width; i++)
      std::copy_n(
          x.as<float>() +
              ((row / height * x.shape[1] + row % height * stride) * x.shape[2] + i * stride) *
                  channels,
          channels, read + (row * width + i) * channels);
  return read;
}

void CpuBackend::conv2d_backward_filter(View x, View dy, const Conv2dGeometry& g, View dw) {
  check_not_empty("conv2d_backward_filter", x, dw, dy);
  if (g.kernel > 1 || g.padding > 0) return plans_->run(ConvKind::backward_filter, x, dw, dy, g);
  Scratch::Frame frame(scratch_);
  const Index in = x.shape[3], out = dy.shape[3];
  const float* read =
      g.stride == 1 ? x.as<float>() : gather_pixels(x, dy.shape, g.stride, scratch_);
  pointwise_backward_filter(read, dy.as<float>(), dw.as<float>(), dy.numel() / out, in, out,
                            scratch_);
}

}  // namespace fission::cpu
