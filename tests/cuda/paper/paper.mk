# Counts what the CUDA backend's kernels move and compute, on the CPU (paper.cpp), and writes it into tensor/cuda/README.md:
#   make -f tests/cuda/paper/paper.mk            (some minutes; g++ and CUDA's headers)        check: is what stands there still so?
SIZE  ?= 224
BATCH ?= 256
BUILD ?= build
CUDA_HOME ?= /usr/local/cuda
TO     = $(BUILD)/paper
SEAM  := $(firstword $(shell cat $(addprefix tensor/,allocator.h backend.h check.h comm.h geometry.h tensor.h) | cksum))
COUNTED := $(patsubst %,tensor/cuda/%.cu,norm sums depthwise depthwise_any elementwise rows loss pool)
PLAIN   := $(patsubst %,tensor/cuda/%.cu,comm conv module runtime)
OTHERS  := $(wildcard tensor/*.cpp tensor/reference/*.cpp tensor/cuda/*.cpp autograd/*.cpp nn/*.cpp split/*.cpp) \
           $(patsubst %,tests/cuda/double/%.cpp,device emulator cudart cublas cudnn) tests/cuda/paper/paper.cpp
COMPILE  = @mkdir -p $(@D); echo "  $<"; $(CXX) -std=c++17 -O2 -w -MMD -MP -idirafter $(CUDA_HOME)/include -I. \
           -DFISSION_SEAM='"$(SEAM)"' -DFISSION_CUDA_ARCH='"80 90"'
comma   := ,
DIRS    := $(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/lib)
# fission::emulator::enqueue, through which every launch goes
ENQUEUE := _ZN7fission8emulator7enqueueEPKv4dim3S3_P11CUstream_stbRKSt6vectorINS0_8ArgumentESaIS7_EESt8functionIFvvEE
BEGIN   := <!-- counted
END     := <!-- end of what is counted
OBJECTS := $(COUNTED:%=$(TO)/%.o) $(PLAIN:%=$(TO)/%.o) $(OTHERS:%=$(TO)/%.o)

table: $(TO)/table.md
	@sed -e '/$(BEGIN)/r $<' -e '/$(BEGIN)/,/$(END)/{/<!--/!d}' tensor/cuda/README.md >$(TO)/README.md && cp $(TO)/README.md tensor/cuda/README.md
check: $(TO)/table.md
	@sed -n '/$(BEGIN)/,/$(END)/{/<!--/!p}' tensor/cuda/README.md | diff - $< && echo 'tensor/cuda/README.md says what is counted'
$(TO)/table.md: $(TO)/paper
	@$< $(SIZE) $(BATCH) >$@.new && mv $@.new $@
$(TO)/paper: $(OBJECTS)
	@$(CXX) $^ -Wl,--wrap=$(ENQUEUE) $(DIRS:%=-L%) $(DIRS:%=-Wl$(comma)-rpath$(comma)%) -lcudnn -ldl -lpthread -o $@
$(COUNTED:%=$(TO)/%.o): $(TO)/%.o: % ; $(COMPILE) -O1 -fsanitize=thread -include tests/cuda/paper/counted.h -x c++ -c $< -o $@
$(PLAIN:%=$(TO)/%.o): $(TO)/%.o: % ; $(COMPILE) -include tests/cuda/double/emulator.h -x c++ -c $< -o $@
$(OTHERS:%=$(TO)/%.o): $(TO)/%.o: % ; $(COMPILE) -c $< -o $@
-include $(OBJECTS:.o=.d)
