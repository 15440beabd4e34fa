// Threads that count in a mapped file, long enough to be compiled meanwhile. Prints the same in every
// run. usage: SharedMap FILE
import java.io.RandomAccessFile;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;

public class SharedMap {
  static final int COUNT = 12000;

  public static void main(String[] args) throws Exception {
    try (RandomAccessFile file = new RandomAccessFile(args[0], "rw")) {
      MappedByteBuffer map = file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, 8192);
      Thread[] threads = new Thread[2];
      for (int t = 0; t < threads.length; ++t) {
        final int at = 4096 * t;
        threads[t] = new Thread(() -> {
          for (int i = 0; i < COUNT; ++i) {
            map.putInt(at, map.getInt(at) + 1);
          }
        });
        threads[t].start();
      }
      for (Thread thread : threads) {
        thread.join();
      }
      map.putInt(64, 4711);
      map.force();
      System.out.println(map.getInt(0) + " " + map.getInt(4096) + " " + map.getInt(64));
    }
  }
}
