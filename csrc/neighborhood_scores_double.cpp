// All of neighborhood_scores.cpp once more, in float64.
#define FASTBRAIN_DOUBLE
#include "neighborhood_scores.cpp"
