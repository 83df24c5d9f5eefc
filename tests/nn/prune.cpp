// Facts of pruning: what goes, that it goes from every tensor, and the penalty on γ that says what
// may go.
#include "nn/prune.h"

#include "nn/rewire.h"
#include "nn/training.h"
#include "tests/near.h"
#include "tests/small_network.h"

using namespace fission;
using namespace fission::testing;

namespace {

using Worths = std::vector<std::vector<double>>;  // [axis][channel]
const std::vector<Index> eight_wide(14, 8);

void set(const Stored& s, const std::vector<double>& values) {
  Tensor place = s.value;
  place.copy_from(make_real(place.backend(), s.shape, values, place.dtype()));
}

// Numbers for every channel, in no order, none twice
Worths drawn(const Network& network, double least, double most, std::uint64_t item) {
  Worths w;
  Random random(23, random_purpose::test, item);
  std::uint64_t i = 0;
  for (const Axis& a : network.axes()) {
    w.emplace_back();
    for (Index c = 0; c < a.width; c++)
      w.back().push_back(least + (most - least) * random.uniform(i++));
  }
  return w;
}
// as each method reads them; every other one negative
void set_gammas(Network& network, const Worths& worth) {
  for (std::size_t a = 0; a < worth.size(); a++) {
    std::vector<double> gamma = worth[a];
    for (std::size_t c = 0; c < gamma.size(); c += 2) gamma[c] = -gamma[c];
    set(gamma_of(network, network.axes()[a]), gamma);
  }
}
void set_norms(Network& network, const Worths& worth) {
  for (std::size_t a = 0; a < worth.size(); a++) {
    const Stored& s = network.stored()[std::size_t(network.producer(network.axes()[a]).weight)];
    std::vector<double> w = s.value.to_host();
    const std::size_t filter = w.size() / worth[a].size();
    for (std::size_t c = 0; c < worth[a].size(); c++) {
      double norm = 0;
      for (std::size_t i = 0; i < filter; i++) norm += std::abs(w[c * filter + i]);
      for (std::size_t i = 0; i < filter; i++) w[c * filter + i] *= worth[a][c] / norm;
    }
    set(s, w);
  }
}

// The `count` greatest of an axis, ascending by index
std::vector<Index> greatest(const std::vector<double>& worth, Index count) {
  std::vector<std::pair<double, Index>> all;
  for (std::size_t c = 0; c < worth.size(); c++) all.push_back({-worth[c], Index(c)});
  std::sort(all.begin(), all.end());
  std::vector<Index> kept;
  for (Index i = 0; i < count; i++) kept.push_back(all[std::size_t(i)].second);
  std::sort(kept.begin(), kept.end());
  return kept;
}

PruningPlan by_hand(const Network& network, const Masks& gone) {
  PruningPlan plan;
  for (std::size_t a = 0; a < gone.size(); a++) {
    plan.kept.emplace_back();
    for (std::size_t c = 0; c < gone[a].size(); c++)
      if (!gone[a][c]) plan.kept.back().push_back(Index(c));
    plan.widths.push_back(Index(plan.kept.back().size()));
  }
  (void)network;
  return plan;
}

// About half of all channels, but never a whole axis
Masks half(const Network& network) {
  Masks m = random_masks(network, 5);
  for (auto& axis : m) axis.front() = 0;
  return m;
}

// γ and β of the last batch norm before the consumers are 0 for these channels, and so is what a
// skip path adds to them
void silence(Network& network, const Masks& gone, double beta = 0) {
  for (std::size_t a = 0; a < gone.size(); a++) {
    const Axis& axis = network.axes()[a];
    const ConvBlock& last =
        network.blocks()[std::size_t(axis.chain.empty() ? axis.producer : axis.chain.back())];
    for (int part : {last.gamma, last.beta}) {
      std::vector<double> v = network.stored()[std::size_t(part)].value.to_host();
      for (std::size_t c = 0; c < v.size(); c++)
        if (gone[a][c]) v[c] = part == last.beta ? beta : 0;
      set(network.stored()[std::size_t(part)], v);
    }
  }
  for (const SkipConv& skip : network.skips()) {
    const Stored& s = network.stored()[std::size_t(skip.weight)];
    std::vector<double> v = s.value.to_host();
    const std::size_t in = std::size_t(s.shape[3]);
    for (std::size_t i = 0; i < v.size(); i++)
      if (gone[std::size_t(skip.out_axis)][i / in]) v[i] = 0;
    set(s, v);
  }
}

std::string error_of(const Network& network, const PruneSettings& settings) {
  try {
    plan_pruning(network, settings);
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}
bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE(
    "pruning: channels whose last γ and β are 0 go without a change of the logits, of every "
    "model and activation") {
  for (const Machine& m : machines())
    for (const auto& widths : small_models)
      for (Activation f : {Activation::swish, Activation::relu}) {
        Small s(m, f, widths);
        INFO(m.name(), ", ", s.network->config().model);
        const Masks gone = half(*s.network);
        const PruningPlan plan = by_hand(*s.network, gone);
        silence(*s.network, gone);
        const std::vector<double> before = s.logits(*s.network).to_host();
        auto pruned = pruned_network(*s.network, plan, true, 1);
        CHECK(pruned->widths() == plan.widths);
        CHECK(pruned->macs() < s.network->macs());
        // sums without some zeros: in another order at most, as for the surgery
        CHECK(relative(s.logits(*pruned), before) < m.tolerance(3e-5, 1e-12));
        // and with β ≠ 0 they were not silent
        silence(*s.network, gone, 0.5);
        const std::vector<double> loud = s.logits(*s.network).to_host();
        CHECK(relative(s.logits(*pruned_network(*s.network, plan, true, 1)), loud) > 1e-3);
      }
}

TEST_CASE("pruning: nobody pruned is the same network, to the bit") {
  for (const auto& widths : small_models) {
    Small s(machines()[1], Activation::swish, widths);
    auto same = pruned_network(*s.network, by_hand(*s.network, s.nobody()), true, 1);
    CHECK(same->parameters().to_host() == s.network->parameters().to_host());
    CHECK(same->statistics().to_host() == s.network->statistics().to_host());
  }
}

TEST_CASE("pruning: each method ends under the target by less than one more channel costs") {
  for (const auto& widths : {eight_wide, small_v2}) {
    Small s(machines()[0], Activation::swish, widths);
    Worths gamma = drawn(*s.network, 0, 0.05, 1);  // a fifth of them dead
    set_gammas(*s.network, gamma);
    const double one = s.network->macs(std::vector<Index>(widths.size(), 1)),
                 all = s.network->macs();
    for (Pruning method : {Pruning::l1, Pruning::slimming, Pruning::morphnet})
      for (double share : {0.0, 0.1, 0.37, 0.5, 0.81, 1.0}) {
        const double target = one + share * (all - one);
        INFO(s.network->config().model, ", method ", int(method), ", share ", share);
        const PruningPlan plan = plan_pruning(*s.network, {method, target, living_gamma});
        CHECK(s.network->macs(plan.widths) <= target);
        CHECK(pruned_network(*s.network, plan, false, 1)->macs() == s.network->macs(plan.widths));
        for (std::size_t a = 0; a < widths.size(); a++) {
          CHECK(plan.kept[a].size() >= 1);
          CHECK(Index(plan.kept[a].size()) <= plan.widths[a]);
          if (method != Pruning::morphnet) {
            CHECK(Index(plan.kept[a].size()) == plan.widths[a]);
            CHECK(plan.kept[a] == greatest(plan.worth[a], plan.widths[a]));
            if (plan.widths[a] == widths[a]) continue;
          }
          std::vector<Index> more = plan.widths;
          more[a]++;
          CHECK(s.network->macs(more) > target);
        }
      }
  }
}

TEST_CASE("pruning: l1 takes the same share of each axis, the least norms of filters") {
  Small s(machines()[0], Activation::swish, eight_wide);
  Worths norms = drawn(*s.network, 1, 2, 2);
  for (double& n : norms[3]) n *= 100;  // other layers' norms are of no account
  set_norms(*s.network, norms);
  for (Index width : {1, 3, 4, 7}) {
    const std::vector<Index> wanted(14, width);
    const PruningPlan plan =
        plan_pruning(*s.network, {Pruning::l1, s.network->macs(wanted), living_gamma});
    CHECK(plan.widths == wanted);
    for (std::size_t a = 0; a < 14; a++) {
      CHECK(distance(plan.worth[a], norms[a]) < 1e-14 * largest(norms[a]) * 8);  // eight sums
      CHECK(plan.kept[a] == greatest(norms[a], width));
    }
  }
}

TEST_CASE("pruning: slimming takes the least |γ| of the whole network") {
  for (const auto& widths : {eight_wide, small_v2}) {
    Small s(machines()[0], Activation::swish, widths);
    Worths gamma = drawn(*s.network, 0.001, 0.1, 3);
    const Masks gone = half(*s.network);
    for (std::size_t a = 0; a < gone.size(); a++)
      for (std::size_t c = 0; c < gone[a].size(); c++) gamma[a][c] += gone[a][c] ? 0 : 0.2;
    set_gammas(*s.network, gamma);
    const PruningPlan wanted = by_hand(*s.network, gone);
    const PruningPlan plan =
        plan_pruning(*s.network, {Pruning::slimming, s.network->macs(wanted.widths), living_gamma});
    CHECK(plan.kept == wanted.kept);
    for (std::size_t a = 0; a < gamma.size(); a++) CHECK(distance(plan.worth[a], gamma[a]) == 0);
  }
}

TEST_CASE("pruning: slimming leaves an axis its best channel, however small its γ") {
  Small s(machines()[0], Activation::swish, eight_wide);
  Worths gamma = drawn(*s.network, 1, 2, 4);
  for (double& g : gamma[5]) g /= 1000;
  set_gammas(*s.network, gamma);
  std::vector<Index> wanted = eight_wide;
  wanted[5] = 1;
  const PruningPlan plan =
      plan_pruning(*s.network, {Pruning::slimming, s.network->macs(wanted), living_gamma});
  CHECK(plan.widths == wanted);
  CHECK(plan.kept[5] == greatest(gamma[5], 1));
}

TEST_CASE("pruning: morphnet takes the living widths times one factor, above 1 and below") {
  Small s(machines()[0], Activation::swish, eight_wide);
  Worths gamma = drawn(*s.network, 0.02, 1, 5);
  std::vector<Index> living, twice, halved;
  for (std::size_t a = 0; a < 14; a++) {
    living.push_back(a % 3 == 0 ? 4 : 2), twice.push_back(2 * living[a]);
    halved.push_back(living[a] / 2);
    for (Index c = 0; c < 8; c++)
      if (c % (8 / living[a]) != 1) gamma[a][std::size_t(c)] *= 0.009;  // below 0.01
  }
  set_gammas(*s.network, gamma);
  for (const auto& wanted : {living, twice, halved}) {
    const PruningPlan plan =
        plan_pruning(*s.network, {Pruning::morphnet, s.network->macs(wanted), 0.01});
    CHECK(plan.widths == wanted);
    for (std::size_t a = 0; a < 14; a++)
      CHECK(plan.kept[a] == greatest(gamma[a], std::min(living[a], wanted[a])));
  }
  const PruningPlan fewer =
      plan_pruning(*s.network, {Pruning::morphnet, s.network->macs(twice), 0.5});
  CHECK(fewer.widths != twice);  // by a greater threshold others are alive
}

TEST_CASE("pruning: new channels are as the seed initialises them, kept ones as they were") {
  for (const auto& widths : small_models) {
    Small s(machines()[1], Activation::swish, widths);
    PruningPlan plan = by_hand(*s.network, half(*s.network));
    for (Index& w : plan.widths) w += 2;
    auto mixed = pruned_network(*s.network, plan, true, 9),
         fresh = pruned_network(*s.network, plan, false, 9);
    NetworkConfig config = s.network->config();
    config.widths = plan.widths;
    CHECK(fresh->parameters().to_host() ==
          make_network(config, s.network->backend(), DType::f32, 9)->parameters().to_host());
    Index kept = 0, drawn_anew = 0;
    for (std::size_t i = 0; i < mixed->stored().size(); i++) {
      const Stored &old = s.network->stored()[i], &now = mixed->stored()[i];
      const Shape from = as_rows_and_columns(old), to = as_rows_and_columns(now);
      const std::vector<double> a = old.value.to_host(), b = now.value.to_host(),
                                c = fresh->stored()[i].value.to_host();
      auto source = [&](const AxisUse& use, Index at) {  // −1: none
        if (use.use == Use::none) return at;
        const auto& k = plan.kept[std::size_t(use.axis)];
        return at < Index(k.size()) ? k[std::size_t(at)] : Index(-1);
      };
      bool right = true;
      for (Index r = 0; r < to[0]; r++)
        for (Index k = 0; k < to[1]; k++)
          for (Index col = 0; col < to[2]; col++) {
            const Index row = source(now.first, r), column = source(now.last, col);
            const std::size_t here = std::size_t((r * to[1] + k) * to[2] + col);
            const bool stays = row >= 0 && column >= 0;
            right = right &&
                    b[here] ==
                        (stays ? a[std::size_t((row * from[1] + k) * from[2] + column)] : c[here]);
            (stays ? kept : drawn_anew)++;
          }
      CHECK_MESSAGE(right, now.name);
    }
    CHECK(kept > 0);
    CHECK(drawn_anew > 0);
  }
}

TEST_CASE("pruning: targets out of reach, and γ that rank nobody, are refused") {
  Small s(machines()[0], Activation::swish, eight_wide);
  CHECK(holds(error_of(*s.network, {Pruning::l1, s.network->macs() + 1, living_gamma}),
              text("expected at most the ", Index(s.network->macs()), " MACs of the network")));
  const double one = s.network->macs(std::vector<Index>(14, 1));
  CHECK(holds(error_of(*s.network, {Pruning::l1, one - 1, living_gamma}),
              text("expected at least the ", Index(one), " MACs of one channel on each axis")));
  auto untrained = make_network(s.network->config(), s.network->backend(), DType::f64, 1);
  for (Pruning method : {Pruning::slimming, Pruning::morphnet})
    CHECK(holds(error_of(*untrained, {method, one, living_gamma}), "every |γ| is 1: no γ to rank"));
  CHECK(error_of(*untrained, {Pruning::l1, one, living_gamma}) == "no error");
  set_gammas(*s.network, drawn(*s.network, 0.02, 1, 6));
  CHECK(holds(error_of(*s.network, {Pruning::morphnet, one, living_gamma}),
              "no |γ| is below 0.01, the least is 0.0"));
  CHECK(error_of(*s.network, {Pruning::morphnet, one, 0.1}) == "no error");
}

TEST_CASE("penalty: its gradient is that of finite differences, and on no other parameter") {
  for (const auto& widths : small_models)
    for (GammaPenalty::Cost cost : {GammaPenalty::none, GammaPenalty::macs}) {
      Small s(machines()[0], Activation::swish, widths);
      Network& n = *s.network;
      Worths gamma = drawn(n, 0.02, 1, 7);
      gamma[1][0] = 0, gamma[2][1] = 0.003, gamma[3][0] = 0.004;  // dead, one of them at the kink
      set_gammas(n, gamma);
      const GammaPenalty penalty{0.7, cost};
      Tensor gradients = n.gradients();
      ops::fill(gradients, 0);
      add_gamma_gradient(n, penalty);
      const std::vector<double> got = gradients.to_host(), p = n.parameters().to_host();
      auto at = [&](std::vector<double> values) {
        n.parameters().copy_from(make_real(n.backend(), {Index(p.size())}, values, DType::f64));
        return gamma_penalty(n, penalty);
      };
      const double h = 1e-4;  // of a function that is linear there: only rounding is left
      Index moved = 0;
      for (std::size_t i = std::size_t(n.weight_count()); i < p.size(); i++) {
        std::vector<double> more = p, less = p;
        more[i] += h, less[i] -= h;
        const double slope = (at(more) - at(less)) / (2 * h);
        if (std::abs(slope - got[i]) > 1e-8) FAIL_CHECK(i, ": ", got[i], ", not ", slope);
        moved += got[i] != 0;
      }
      for (Index i = 0; i < n.weight_count(); i++)
        if (got[std::size_t(i)] != 0) FAIL_CHECK("weight ", i);
      Index channels = 0;
      for (const Axis& a : n.axes()) channels += a.width;
      CHECK(moved == channels - 1);  // the one at 0 has none
    }
}

TEST_CASE("penalty: MorphNet's weights are a channel's MACs among living neighbours") {
  Small s(machines()[0], Activation::swish, eight_wide);  // 16x16 images
  Worths gamma = drawn(*s.network, 0.1, 1, 8);
  gamma[1][0] = gamma[1][3] = 0.001;  // six alive on L01, which reads L00's eight
  set_gammas(*s.network, gamma);
  Tensor gradients = s.network->gradients();
  ops::fill(gradients, 0);
  add_gamma_gradient(*s.network, {1, GammaPenalty::macs});
  auto slope = [&](std::size_t axis) {
    return std::abs(
        s.network->view(gamma_of(*s.network, s.network->axes()[axis]), gradients).to_host()[1]);
  };
  // L00: 3×3 of three colours, depthwise 3×3, six consumers. L13: eight inputs, four classes at one
  // position. Both on their own numbers of positions.
  const double first = 256 * (27 + 9 + 6), last = 8 + 4;
  CHECK(slope(0) / slope(13) == near(first / last).epsilon(1e-12));
  // the mean cost of a channel, all alive, is 1
  set_gammas(*s.network, drawn(*s.network, 0.1, 1, 8));
  ops::fill(gradients, 0);
  add_gamma_gradient(*s.network, {1, GammaPenalty::macs});
  double sum = 0;
  for (double g : gradients.to_host()) sum += std::abs(g);
  CHECK(sum == near(14 * 8).epsilon(1e-12));
}

TEST_CASE("penalty: a training step moves γ by it, and nothing else") {
  auto after = [](double l1) {
    Small s(machines()[0]);
    TrainingSettings settings;
    settings.gamma.l1 = l1;
    Sgd sgd(*s.network, settings.sgd);
    Meter meter(s.network->backend(), DType::f64);
    train_step(*s.network, sgd, s.x, s.y, settings, 0.1, meter);
    return s.network->parameters().to_host();
  };
  Small s(machines()[0]);
  std::vector<double> expected = after(0);
  const std::vector<double> before = s.network->parameters().to_host();
  for (const Axis& axis : s.network->axes()) {
    const Stored& gamma = gamma_of(*s.network, axis);
    for (Index i = gamma.offset; i < gamma.offset + axis.width; i++)
      expected[std::size_t(i)] -= 0.1 * 0.03 * (before[std::size_t(i)] > 0 ? 1 : -1);
  }
  CHECK(distance(after(0.03), expected) < 1e-14);
}
