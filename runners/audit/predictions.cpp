// The audit of what splitting matrices predict (E2, E4): loss changes of really split neurons
// beside ε²/2 uᵀSu, one neuron at a time or many at once. Loss changes are judged absolutely,
// 1e-13: the rounding of two losses.
#include <algorithm>
#include <cmath>

#include "autograd/functions.h"
#include "runners/audit/reference.h"
#include "split/surgery.h"
#include "tensor/eigen.h"

namespace fission {

using namespace audit;

namespace {

struct Splits {
  const Reference& r;
  const ReferenceFile& file;
  std::unique_ptr<Network> network;
  Tensor x, labels, u;
  double before;
  Splits(const Reference& reference, const std::string& directions)
      : r(reference),
        file(r.file),
        network(file.network(r.m)),
        x(file.images(r.m)),
        labels(file.labels(r.m)),
        u(file.directions(*network, directions)),
        before(loss(*network)) {}
  double loss(Network& n) const {
    GradientMode none(Gradients::none);
    n.set_training(false);
    return cross_entropy(n.forward(Variable(x)), labels, 0).value().item();
  }
  double change(const Masks& split, double epsilon, SplitStep step) const {
    return loss(*split_network(*network, split, u, {epsilon, step})) - before;
  }
  double rounding() const { return 1e-13 * (r.strict ? 1 : std::max(1.0, before)); }
  // uᵀSu / uᵀu of every neuron, [axis][neuron]: of its least eigenvector the eigenvalue
  std::vector<Numbers> forms(const Tensor& u, Matrix matrix) const {
    Tensor s_u = network->like_parameters();
    splitting_products(*network, x, labels, u, authors_probe(r, matrix), s_u);
    std::vector<Numbers> all = dots(*network, u, s_u), squares = dots(*network, u, u);
    for (std::size_t l = 0; l < all.size(); l++)
      for (std::size_t o = 0; o < all[l].size(); o++) all[l][o] /= squares[l][o];
    return all;
  }
  std::pair<std::size_t, std::size_t> neuron(const std::string& name, const Numbers& rows,
                                             std::size_t at, std::size_t columns) const {
    auto is_index = [](double i, std::size_t count) {
      return i >= 0 && i < double(count) && i == std::floor(i);
    };
    const double l = rows[at], o = rows[at + 1];
    if (!is_index(l, network->axes().size()) ||
        !is_index(o, std::size_t(network->axes()[std::size_t(l)].width)))
      user_error(file.file().path, ": tensor '", name, "': row ", at / columns, ": layer ", l,
                 ", neuron ", o, " are not there");
    return {std::size_t(l), std::size_t(o)};
  }
};

// the worst row's |x − y| / |y|
double worst_row(const Numbers& x, const Numbers& y) {
  double most = 0;
  for (std::size_t i = 0; i < x.size(); i++) most = std::max(most, relative({x[i]}, {y[i]}));
  return most;
}

// Rows: layer, neuron, ε, λ, loss before, loss change, ε²/2 λ. The two copies were averaged after
// their activation, which is
// no split that the surgery makes: their change is only held beside the prediction.
void audit_averaged(Findings& f, const Splits& s, const std::vector<Numbers>& paper) {
  const std::string name = "b/split_check";
  const Numbers rows = s.file.rows(name, 7);
  Numbers got, want, before, beside;
  double least = INFINITY;  // ε
  for (std::size_t i = 2; i < rows.size(); i += 7) least = std::min(least, rows[i]);
  for (std::size_t i = 0; i < rows.size(); i += 7) {
    const auto [l, o] = s.neuron(name, rows, i, 7);
    const double half = rows[i + 2] * rows[i + 2] / 2, lambda = paper[l][o];
    got.insert(got.end(), {lambda, half * lambda}),
        want.insert(want.end(), {rows[i + 3], rows[i + 6]});
    before.push_back(rows[i + 4] - s.before);
    if (rows[i + 2] == least) beside.push_back(rows[i + 5] / (half * lambda) - 1);
  }
  const std::string what = text(rows.size() / 7, " single neurons' copies, averaged: ");
  f.at_most("E2", what + "λ and ε²/2 λ, worst row", worst_row(got, want), 1e-9);
  f.at_most("E2", what + "loss before, absolute", largest(before), s.rounding());
  f.note("E2", what + text("loss change over ε²/2 λ, less 1, largest of ε = ", least),
         largest(beside));
}

// Rows: layer, neuron, ε, λ, uᵀ S_full u, true loss change, ε²/2 λ, ε²/2 uᵀ S_full u
void audit_really_split(Findings& f, const Splits& s, const std::vector<Numbers>& paper,
                        const std::vector<Numbers>& chain) {
  const std::string name = "b/split_check_real";
  const Numbers rows = s.file.rows(name, 8);
  Numbers changes, expected, got, want;
  for (std::size_t i = 0; i < rows.size(); i += 8) {
    const auto [l, o] = s.neuron(name, rows, i, 8);
    Masks split = nobody(*s.network);
    split[l][o] = 1;
    changes.push_back(s.change(split, rows[i + 2], SurgerySettings().step)),
        expected.push_back(rows[i + 5]);
    const double half = rows[i + 2] * rows[i + 2] / 2;
    got.insert(got.end(), {paper[l][o], chain[l][o], half * paper[l][o], half * chain[l][o]});
    want.insert(want.end(), {rows[i + 3], rows[i + 4], rows[i + 6], rows[i + 7]});
  }
  f.at_most("E2", text("loss changes of ", changes.size(), " really split neurons, absolute"),
            distance(changes, expected), s.rounding());
  f.at_most("E2", text("their λ, the chain's uᵀSu, and ε²/2 of both, worst row"),
            worst_row(got, want), 1e-9);
}

}  // namespace

void audit_single_splits(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  // ReLU's predictions are a surrogate's, and of MobileNetV2 the files have none
  const bool promised = file.config().model == "mobilenet_v1" &&
                        file.config().activation == Activation::swish && file.any("b/S_dwterm/");
  const bool averaged = file.has("b/split_check"),
             real = file.has("b/split_check_real") || promised;
  if (!averaged)
    f.note("E2", "loss changes of averaged copies", "not in this file (b/split_check)");
  if (!real)
    f.note("E2", "loss changes of really split neurons", "not in this file (b/split_check_real)");
  if (!averaged && !real) return;
  const Splits s(r, "b/min_eigvec/");
  const std::vector<Numbers> paper = s.forms(s.u, Matrix::paper);
  if (averaged) audit_averaged(f, s, paper);
  if (real) audit_really_split(f, s, paper, s.forms(s.u, Matrix::chain));
}

// Rows: ε, loss before, change with the authors' step, with v halved, Σ ε²/2 λ, Σ ε²/2 uᵀ S_full u.
// The sums are of the eigenvectors in double: strictly the program's own. With the file's, in
// float32, the second differs by 2.7e-9.
void audit_loss_change(Findings& f, const Reference& r, const Masks& split) {
  const Splits s(r, "eigvec/");
  const Numbers rows = r.file.rows("loss_change", 6);
  const bool own = r.strict && have_eigen();
  Tensor u = s.u;
  if (own) u = splitting_index(*s.network, solved(exact_matrices(r, *s.network, Matrix::paper))).v;
  auto sum = [&](Matrix matrix) {
    const std::vector<Numbers> forms = s.forms(u, matrix);
    double all = 0;
    for (std::size_t l = 0; l < split.size(); l++)
      for (std::size_t o = 0; o < split[l].size(); o++) all += split[l][o] ? forms[l][o] : 0;
    return all;
  };
  const double paper = sum(Matrix::paper), chain = sum(Matrix::chain);
  Numbers changes, expected, got, want;
  for (std::size_t i = 0; i < rows.size(); i += 6) {
    changes.insert(changes.end(), {s.before, s.change(split, rows[i], SplitStep::paper),
                                   s.change(split, rows[i], SplitStep::exact)});
    expected.insert(expected.end(), {rows[i + 1], rows[i + 2], rows[i + 3]});
    const double half = rows[i] * rows[i] / 2;
    got.insert(got.end(), {half * paper, half * chain}),
        want.insert(want.end(), {rows[i + 4], rows[i + 5]});
  }
  f.at_most("E4", text("loss changes of both steps, ", rows.size() / 6, " ε, absolute"),
            distance(changes, expected), s.rounding());
  f.at_most("E4", "Σ ε²/2 λ, and Σ ε²/2 uᵀSu of the chain, worst row", worst_row(got, want),
            own ? 1e-9 : 1e-8);
}

}  // namespace fission
