// Dies, and has in its file a script for debuggers: gdb runs it as soon as it reads the file,
// unless it is told not to. The script makes the file that $SHMREC_TEST_MARK names.
#include <stdlib.h>

__asm__(
    ".pushsection \".debug_gdb_scripts\", \"MS\",@progbits,1\n"
    ".byte 4\n"  // a script in Python, in the section itself
    ".ascii \"gdb.inlined-script\\n\"\n"
    ".ascii \"import os\\n\"\n"
    ".ascii \"open(os.environ['SHMREC_TEST_MARK'], 'w').close()\\n\"\n"
    ".byte 0\n"
    ".popsection\n");

int main(void) { abort(); }
