// The agent's image, embedded in the programs that inject it. Link shmrec_agent_image.
//
// Starts with an agent::ImageHeader (agent/agent_abi.h); read only, lives as long as the program.
#pragma once

#include <stdint.h>

extern "C" const unsigned char shmrec_agent_image[];
extern "C" const uint64_t shmrec_agent_image_bytes;
