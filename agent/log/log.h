// Writing the shared-memory log from inside a recorded process: all of its rooms, for those who
// need most of them.
#pragma once

#include "agent/log/attach.h"
#include "agent/log/journal.h"
#include "agent/log/lanes.h"
#include "agent/log/processes.h"
#include "agent/log/records.h"
#include "agent/log/segments.h"
#include "agent/log/tables.h"
#include "agent/log/usage.h"
