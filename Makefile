# (first sketch: probes, deps, test, demo come next)
CXX ?= g++
ARCH ?= -march=haswell
CXXFLAGS ?= -O3 -g
override CXXFLAGS += -std=c++17 -Wall -Wextra $(ARCH) -fno-trapping-math -fno-math-errno -fopenmp -I. -MMD -MP
LIBS = -ldnnl -lz -lpthread
LIBRARY := $(wildcard tensor/*.cpp tensor/reference/*.cpp tensor/cpu/*.cpp autograd/*.cpp nn/*.cpp split/*.cpp data/*.cpp)
OBJECTS := $(LIBRARY:%.cpp=build/%.o)
build/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c $< -o $@
-include $(shell find build -name '*.d' 2>/dev/null)
