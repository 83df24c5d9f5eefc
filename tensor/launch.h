// How this program was launched, by the environment that mpirun (Open MPI; MPICH and Intel's) and
// srun set: MPI is not started for it.
#pragma once

namespace fission {

int launched();     // as how many processes; 1: neither of them did
int launch_rank();  // which of them this is, from 0 on

}  // namespace fission
