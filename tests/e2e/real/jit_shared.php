<?php
// Workers that run code compiled into shared memory (opcache's tracing JIT) and leave what they have
// found in a System V segment. Prints the same in every run.
const WORKERS = 3;

function steps(int $n): int {
  for ($i = 0; $n != 1; ++$i) {
    $n = $n & 1 ? 3 * $n + 1 : $n >> 1;
  }
  return $i;
}

function longest(int $from, int $to): int {
  $longest = 0;
  for ($n = $from; $n < $to; ++$n) {
    $longest = max($longest, steps($n));
  }
  return $longest;
}

$before = opcache_get_status(false)['jit'];
echo $before['on'] ? "jit on\n" : "jit off\n";
echo longest(1, 300), "\n";
$shared = shmop_open(getmypid(), 'n', 0600, 4096);
$workers = [];
for ($w = 0; $w < WORKERS; ++$w) {
  $pid = pcntl_fork();
  if ($pid == 0) {
    shmop_write($shared, pack('VV', longest(1 + 200 * $w, 1 + 200 * ($w + 1)), $w), 16 * $w);
    exit(0);
  }
  $workers[] = $pid;
}
foreach ($workers as $pid) {
  pcntl_waitpid($pid, $status);
  echo "worker ended with $status\n";
}
echo longest(1, 300), "\n";
shmop_write($shared, pack('V', 4711), 1024);
for ($w = 0; $w < WORKERS; ++$w) {
  echo implode(' ', unpack('V2', shmop_read($shared, 16 * $w, 8))), "\n";
}
$after = opcache_get_status(false)['jit'];
echo $after['buffer_free'] < $before['buffer_free'] ? "compiled\n" : "nothing compiled\n";
shmop_delete($shared);
