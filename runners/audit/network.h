// The audit of a network on its data: each statement of the method that can be checked on it, with
// the figure that was found. In float64 on the reference backend where loss differences are
// compared, in float32 on the device where the method runs. All of it is over the same images
// under one fixed augmentation key: otherwise S changes from pass to pass. Statements about real
// losses are judged where they can be: for a smooth activation (ReLU's matrix is a surrogate's, so
// that its figures are notes), and where float64 can tell a loss change from rounding.
#pragma once
#include <functional>
#include "data/loader.h"
#include "nn/io/checkpoint.h"
#include "runners/audit/findings.h"
#include "split/energy.h"
#include "split/exact.h"

namespace fission {

struct AuditSettings {
  Index few = 16;                   // images where float64 and loss differences are wanted
  Index batches = 10, batch = 128;  // what the solvers and the oracle see
  Index passes = 10, rq_batch = 64;
  Index neurons = 6;  // layers of which one neuron is really split
  double epsilon = 1e-2, grow = 0.3;
  double work = 2e11;  // products that the oracle may take; layers beyond it are named and left out
  double memory = 4e9;  // bytes of its matrices
  Curvature curvature;  // surrogates; in statements about real losses linear layers have 0
  std::uint64_t seed = 1;
  bool augment = true;
};

class NetworkAudit {
 public:
  NetworkAudit(Findings& findings, const TensorFile& checkpoint, const data::Dataset& images,
               Backend& device, AuditSettings settings);
  void all();

 private:
  struct Side {  // the network and the few images on one backend
    std::unique_ptr<Network> network;
    Tensor x, labels;
    double loss(Network& n) const;
    Tensor logits(Network& n) const;
  };
  Side side(Backend& backend, DType type) const;
  double rounding_of_products(const ProbeSettings& p) const;
  double rounding(double loss, double predicted) const;  // of a loss change, over it
  struct Limit {
    double epsilon, coarse, fine,
        noise;  // the ratio there and at a third of it, and rounding's part of the latter
  };
  Limit limit(const std::function<double(double)>& ratio,
              const std::function<double(double)>& noise) const;
  void judge(const std::string& equation, const std::string& who, const Limit& l);
  void real_at_most(const std::string& equation, const std::string& what, double figure,
                    double bound);  // judged for a smooth activation
  std::unique_ptr<data::Loader> loader(const data::Dataset& images, Backend& backend,
                                       Index batch) const;
  std::vector<int> affordable(Index images, const char* what);
  std::vector<ExactAxis> oracle(Side& s, Matrix matrix, double linear) const;
  void preservation();
  void products();
  void quotients();
  void one_neuron();
  void many_neurons();
  void solvers();
  void selection(const SplittingIndex& truth, const SplittingIndex& found,
                 const std::string& solver);
  void real_split(const SplittingIndex& found);

  Findings& findings_;
  const data::Dataset& images_;
  data::Dataset many_;
  AuditSettings settings_;
  Side f32_, f64_;
  std::vector<int> axes_;         // that the oracle can afford for the few images
  std::vector<ExactAxis> truth_;  // of the few images, chain's matrix, float64
};

}  // namespace fission
