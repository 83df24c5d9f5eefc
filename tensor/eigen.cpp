#include "tensor/eigen.h"

#include "tensor/check.h"
#if defined(FISSION_HAVE_EIGEN)
#include <Eigen/Eigenvalues>
#endif

namespace fission {

#if defined(FISSION_HAVE_EIGEN)
bool have_eigen() { return true; }

SymmetricEigen symmetric_eigen(Index n, const double* matrix) {
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  SymmetricEigen out;
  if (n == 0) return out;
  Eigen::Map<const RowMajor> map(matrix, n, n);
  if (!map.allFinite())
    user_error("[eigen] a matrix of ", n, "x", n,
               " holds NaN or infinity; expected a network whose ",
               "weights and images are not too large to compute with");
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(map);
  FISSION_CHECK(solver.info() == Eigen::Success, "[eigen] no convergence for a matrix of ", n, "x",
                n);
  out.values.assign(solver.eigenvalues().data(), solver.eigenvalues().data() + n);
  out.vectors.assign(solver.eigenvectors().data(),
                     solver.eigenvectors().data() + n * n);  // columns, stored by columns
  return out;
}
#else
bool have_eigen() { return false; }

SymmetricEigen symmetric_eigen(Index, const double*) {
  require_eigen("[eigen] eigenvalues");
  return {};
}
#endif

void require_eigen(const char* who) {
  if (!have_eigen())
    user_error(who,
               ": this build has no Eigen, which solves for eigenvalues; install libeigen3-dev, or "
               "give CPPFLAGS=-IDIR with ",
               "DIR/Eigen/Eigenvalues, and build again");
}

}  // namespace fission
