// Eigenvalues and eigenvectors of small symmetric matrices, by Eigen's SelfAdjointEigenSolver, in
// double. Built without Eigen (FISSION_HAVE_EIGEN) it refuses (UserError) and says what to install.
#pragma once
#include <vector>

#include "tensor/geometry.h"

namespace fission {

struct SymmetricEigen {
  std::vector<double> values;   // (n) ascending
  std::vector<double> vectors;  // (n,n): row k is the unit eigenvector of values[k]
};

SymmetricEigen symmetric_eigen(Index n, const double* matrix);  // (n,n): its lower triangle is read
bool have_eigen();
void require_eigen(const char* who);  // UserError that names who wants it, before any work is done

}  // namespace fission
