// Probe: one program whose process image is known, for testing the core-dump analyser.
//
//	probe MODE      MODE = waits nilderef panicnested fatalmap overflow orphan heap healthy
//	                or waits-raw, orphan-raw, heap-raw
//
// Every mode first writes what it knows about itself to truth.txt (PROBE_TRUTH names another file), then dies.
// waits, orphan and heap send SIGABRT to their own thread, which the Go runtime catches: it prints all stacks, stops
// the other threads with SIGQUIT one by one, and then dies. With -raw they first give SIGABRT its default action: the
// core then shows every thread as it ran. healthy holds still until somebody else sends a signal. The others die of
// their fault. Run it with GOTRACEBACK=crash and an unlimited core size.
//
// Pure Go, standard library only, no generics: builds with Go 1.16 to 1.27. waits_go118.go and waits_go123.go, which
// older compilers skip, add goroutines to waits that need newer language versions.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	modes := map[string]func(){"waits": modeWaits, "nilderef": modeNilDeref, "panicnested": modePanicNested, "fatalmap": modeFatalMap,
		"overflow": modeOverflow, "orphan": modeOrphan, "heap": modeHeap, "healthy": modeHealthy}
	f := modes[strings.TrimSuffix(mode, "-raw")]
	raw = strings.HasSuffix(mode, "-raw")
	if f == nil {
		fmt.Fprintln(os.Stderr, "usage: probe waits|nilderef|panicnested|fatalmap|overflow|orphan|heap|healthy, or waits-raw|orphan-raw|heap-raw")
		os.Exit(2)
	}
	path := os.Getenv("PROBE_TRUTH")
	if path == "" {
		path = "truth.txt"
	}
	var err error
	truthFd, err = syscall.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_CLOEXEC, 0644)
	must(err)
	runtime.LockOSThread()
	runtime.GOMAXPROCS(2)
	truthf("probe mode=%s go=%s os=%s arch=%s pid=%d main-tid=%d main-goroutine=%d", mode, runtime.Version(), runtime.GOOS, runtime.GOARCH, syscall.Getpid(), syscall.Gettid(), gid())
	f()
}
