package bench

import (
	"runtime"
	"runtime/debug"
)

// Machine is what was measured on. What the system does not tell is empty.
type Machine struct {
	OS         string            `json:"os"`
	Arch       string            `json:"arch"`
	Kernel     string            `json:"kernel"`
	Processor  string            `json:"processor"`
	CPUs       int               `json:"cpus"`
	GoMaxProcs int               `json:"gomaxprocs"`
	Memory     string            `json:"memory"`
	Disk       string            `json:"disk"`  // file system and device of the home
	Fsync      string            `json:"fsync"` // what each commit waits for
	Go         string            `json:"go"`
	Modules    map[string]string `json:"modules"` // versions of the libraries on the way of a step
}

// ThisMachine describes the machine and the disk that a directory lies on.
func ThisMachine(dir string) Machine {
	m := Machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: kernel(), Processor: processor(), CPUs: runtime.NumCPU(),
		GoMaxProcs: runtime.GOMAXPROCS(0), Memory: memory(), Disk: fileSystem(dir), Fsync: syncMode,
		Go: runtime.Version(), Modules: make(map[string]string),
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return m
	}
	for _, d := range info.Deps {
		switch d.Path {
		case "go.etcd.io/bbolt", "google.golang.org/grpc", "google.golang.org/protobuf", "github.com/hashicorp/go-plugin":
			m.Modules[d.Path] = d.Version
		}
	}
	return m
}
