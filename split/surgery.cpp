#include "split/surgery.h"

#include <cmath>
#include <numeric>

#include "nn/rewire.h"
#include "tensor/random.h"

namespace fission {
namespace {

// A split channel's own place and, after all old channels, its copy's.
struct Map : Wiring {
  // lengths: of each channel's step, where these are steps
  Map(Index n, const std::vector<char>* split, double unsplit, double kept, double appended,
      const double* lengths = nullptr) {
    auto add = [&](Index i, double s) {
      from.push_back(std::int32_t(i)), scale.push_back(lengths ? s * lengths[i] : s);
    };
    for (Index i = 0; i < n; i++) add(i, split && (*split)[i] ? kept : unsplit);
    if (split)
      for (Index i = 0; i < n; i++)
        if ((*split)[i]) add(i, appended);
  }
};

using Masks = std::vector<std::vector<char>>;
const std::vector<char>* mask_of(const AxisUse& use, const Masks& split) {
  return use.use == Use::none ? nullptr : &split[use.axis];
}

// The tensor after the split, but for the step: rows copied; columns copied, or shared between the
// copies where they are consumed (E1).
Tensor carried(const Stored& s, const Tensor& values, const Masks& split, double share) {
  Shape shape = as_rows_and_columns(s);
  bool consumed = s.last.use == Use::consumed;
  double kept = consumed ? share : 1, copied = consumed ? 1 - share : 1;
  return rewired(s, values, Map(shape[0], mask_of(s.first, split), 1, 1, 1),
                 Map(shape[2], mask_of(s.last, split), 1, kept, copied));
}

// The step (E2): +ε v̂ on split rows, −ε v̂ on their copies, 0 elsewhere; v̂'s columns shared like W's
// (or copied whole: the authors'). Of unequal shares: steps of mean 0 and mean square ε² (E2w).
Tensor step(const Stored& s, const Tensor& v, const Masks& split, const SurgerySettings& settings,
            const double* lengths) {
  Shape shape = as_rows_and_columns(s);
  const double a = settings.share, ratio = std::sqrt((1 - a) / a);
  const bool shared = settings.step == SplitStep::exact;
  const double kept = shared ? a : 1, copied = shared ? 1 - a : 1;
  return rewired(s, v,
                 Map(shape[0], mask_of(s.first, split), 0, settings.epsilon * ratio,
                     -settings.epsilon / ratio, lengths),
                 Map(shape[2], mask_of(s.last, split), 1, kept, copied));
}

// Draws anew how the two copies of an input share its weight, for each row: the row's sum stays,
// and so does the function of copies that are alike.
Tensor reshared(const Stored& s, const Tensor& values, const Masks& split,
                const SurgerySettings& settings, std::uint64_t stream) {
  const std::vector<char>& mask = *mask_of(s.last, split);
  const Shape shape = values.shape();
  const std::size_t rows = std::size_t(shape[0] * shape[1]), columns = std::size_t(shape[2]);
  std::vector<double> w = values.to_host();
  const Random random(settings.seed, random_purpose::shares, stream);
  for (std::size_t r = 0; r < rows; r++)
    for (std::size_t i = 0, copy = mask.size(); i < mask.size(); i++) {
      if (!mask[i]) continue;
      double &kept = w[r * columns + i], &copied = w[r * columns + copy++], sum = kept + copied;
      kept = sum * (settings.share + settings.spread * (2 * random.uniform(r * columns + i) - 1));
      copied = sum - kept;
    }
  return make_real(values.backend(), shape, w, values.dtype());
}

// v with the split neurons' directions of length 1. The other neurons need none.
Tensor unit_directions(const Network& network, const Masks& split, const Tensor& v) {
  std::vector<double> all = network.neuron_rows().to_host();
  std::vector<std::int32_t> rows;
  std::size_t row = 0;
  for (const auto& axis : split)
    for (char chosen : axis) {
      if (chosen)
        rows.push_back(std::int32_t(all[row])), rows.push_back(std::int32_t(all[row + 1]));
      row += 2;
    }
  Tensor unit = v.clone();
  if (!rows.empty())
    ops::normalise_rows(unit, Tensor::from(v.backend(), {Index(rows.size() / 2), 2}, rows));
  return unit;
}

void check_masks(const Network& network, const Masks& split) {
  FISSION_CHECK(split.size() == network.axes().size(), "[surgery] ", split.size(), " masks, ",
                network.axes().size(), " axes");
  for (std::size_t a = 0; a < split.size(); a++)
    FISSION_CHECK(Index(split[a].size()) == network.axes()[a].width, "[surgery] axis ",
                  network.axes()[a].name, " has ", network.axes()[a].width, " channels, its mask ",
                  split[a].size());
}

// Halved columns make the rows that consume them shorter, and under a batch norm a shorter row
// learns faster (its gradient grows as its length falls). Here each is as long as before again, and
// its statistics follow.
void restore_norms(const Network& before, const Network& after, const Masks& split) {
  for (std::size_t a = 0; a < split.size(); a++) {
    const ConvBlock &old = before.producer(before.axes()[a]),
                    &now = after.producer(after.axes()[a]);
    std::vector<std::size_t> from;  // of each new channel
    for (std::size_t o = 0; o < split[a].size(); o++) from.push_back(o);
    for (std::size_t o = 0; o < split[a].size(); o++)
      if (split[a][o]) from.push_back(o);
    Tensor w = after.stored()[now.weight].value, mean = after.stored()[now.running_mean].value,
           var = after.stored()[now.running_var].value;
    const std::vector<double> was = before.stored()[old.weight].value.to_host();
    std::vector<double> row = w.to_host(), m = mean.to_host(), v = var.to_host();
    const std::size_t short_row = was.size() / split[a].size(), long_row = row.size() / from.size();
    auto norm = [](const double* x, std::size_t n) {
      return std::sqrt(std::inner_product(x, x + n, x, 0.0));
    };
    for (std::size_t r = 0; r < from.size(); r++) {
      const double length = norm(&row[r * long_row], long_row);
      if (length == 0) continue;
      const double s = norm(&was[from[r] * short_row], short_row) / length;
      for (std::size_t i = 0; i < long_row; i++) row[r * long_row + i] *= s;
      m[r] *= s, v[r] = std::max(0.0, s * s * (v[r] + now.norm.eps) - now.norm.eps);
    }
    w.copy_from(make_real(w.backend(), w.shape(), row, w.dtype()));
    mean.copy_from(make_real(w.backend(), mean.shape(), m, w.dtype()));
    var.copy_from(make_real(w.backend(), var.shape(), v, w.dtype()));
  }
}

}  // namespace

// ε_o / ε of E3r
std::vector<double> step_lengths(const Network& network, const SurgerySettings& settings) {
  const std::vector<double> rows = network.neuron_rows().to_host();
  std::vector<double> lengths(rows.size() / 2, 1.0);
  if (!settings.relative) return lengths;
  const std::vector<double> w = network.parameters().to_host();
  for (std::size_t r = 0; r < lengths.size(); r++) {
    const auto first = w.begin() + std::ptrdiff_t(rows[2 * r]),
               last = first + std::ptrdiff_t(rows[2 * r + 1]);
    lengths[r] = std::sqrt(std::inner_product(first, last, first, 0.0));
  }
  return lengths;
}

std::unique_ptr<Network> split_network(const Network& network, const Masks& split, const Tensor& v,
                                       const SurgerySettings& settings) {
  check_masks(network, split);
  std::vector<Index> widths = network.widths();
  for (std::size_t a = 0; a < split.size(); a++)
    for (char chosen : split[a]) widths[a] += chosen;
  auto grown = network.with_widths(widths);
  Tensor unit = unit_directions(network, split, v);
  const std::vector<double> lengths = step_lengths(network, settings);
  std::vector<const double*> of_axis{lengths.data()};
  for (const Axis& axis : network.axes()) of_axis.push_back(of_axis.back() + axis.width);
  for (std::size_t i = 0; i < network.stored().size(); i++) {
    const Stored &old = network.stored()[i], &now = grown->stored()[i];
    Tensor values = carried(old, old.value, split, settings.share);
    if (old.first.use == Use::produced) {
      const double* of_rows = of_axis[std::size_t(old.first.axis)];
      ops::add_scaled(values, step(old, network.view(old, unit), split, settings, of_rows), 1);
    }
    if (settings.spread > 0 && old.last.use == Use::consumed)
      values = reshared(old, values, split, settings,
                        std::uint64_t(network.parameter_count()) << 16 | i);
    Tensor place = now.value;
    place.copy_from(values.reshape(now.shape));
  }
  if (settings.keep_norms) restore_norms(network, *grown, split);
  return grown;
}

Tensor split_buffer(const Network& before, const Network& after, const Masks& split,
                    const Tensor& flat, double share) {
  check_masks(before, split);
  Tensor out = after.like_parameters();
  for (std::size_t i = 0; i < before.stored().size(); i++) {
    const Stored &old = before.stored()[i], &now = after.stored()[i];
    if (!old.parameter) continue;
    Tensor place = after.view(now, out);
    place.copy_from(carried(old, before.view(old, flat), split, share).reshape(now.shape));
  }
  return out;
}

}  // namespace fission
