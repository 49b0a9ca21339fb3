package uv

import (
	"fmt"
	"path"
	"runtime"
)

// Version of uv that this package runs. The question that it asks of a Python, and its messages, belong to it.
//
// To take another one: run the tests with RAYBUILD_UV_RELEASE=VERSION, put what they print here and into the
// table, and run them again.
const Version = "0.13.9"

// Wheel is the wheel of uv for one kind of machine.
type Wheel struct {
	// Path below https://files.pythonhosted.org/, "packages/…/uv-….whl".
	Path string
	// SHA256 of the wheel in hex.
	SHA256 string
	// Size of the wheel in bytes.
	Size int64
}

// URL is the wheel's canonical URL.
func (w Wheel) URL() string { return "https://files.pythonhosted.org/" + w.Path }

// Filename is the wheel's file name.
func (w Wheel) Filename() string { return path.Base(w.Path) }

// wheels of uv by GOOS/GOARCH, from https://pypi.org/simple/uv/ (PEP 691) of 2026-11-30. Those for Linux are linked
// statically (musllinux), so one serves glibc and musl.
//
//nolint:gochecknoglobals // a constant table
var wheels = map[string]Wheel{
	"linux/amd64": {
		Path: "packages/fe/fe/794884de0efd3ac77a427cab21aa72c0483e100c55a42cd5cbb02c141b84/" +
			"uv-0.13.9-py3-none-musllinux_1_1_x86_64.whl",
		SHA256: "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25",
		Size:   19295638,
	},
	"linux/arm64": {
		Path: "packages/57/15/94b6cd62ac3ff6550288328e8035288875197cbc183f51554b266a69877b/" +
			"uv-0.13.9-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
		SHA256: "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
		Size:   18026789,
	},
	"darwin/amd64": {
		Path: "packages/1e/db/08e9ef4879bd667e6d7b4705e594e5bd3e4585f10fc63cb16b9fa2fac63e/" +
			"uv-0.13.9-py3-none-macosx_10_12_x86_64.whl",
		SHA256: "c16ed11e013557536b3e60065f1b912f6407bd6518e041b961e23ef9e6b4fbf5",
		Size:   17529974,
	},
	"darwin/arm64": {
		Path: "packages/f3/a7/a8d7b074798c7fb3b26b37584b8fe2e29df2ccdc24ce7902caab2a53edbf/" +
			"uv-0.13.9-py3-none-macosx_11_0_arm64.whl",
		SHA256: "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
		Size:   14660755,
	},
}

// HostError says that there is no uv for a kind of machine.
type HostError struct {
	// Host is GOOS/GOARCH.
	Host string
}

// Error names the machine.
func (e *HostError) Error() string {
	return fmt.Sprintf("find uv for this machine: none for %s is known", e.Host)
}

// HostWheel is the wheel of uv for this machine. The error is a *HostError if there is none.
func HostWheel() (Wheel, error) { return wheelFor(runtime.GOOS + "/" + runtime.GOARCH) }

// WheelFor is the wheel of uv for a machine, such as "linux/arm64". The error is a *HostError if there is none.
func WheelFor(host string) (Wheel, error) { return wheelFor(host) }

func wheelFor(host string) (Wheel, error) {
	w, ok := wheels[host]
	if !ok {
		return Wheel{}, &HostError{Host: host}
	}
	return w, nil
}
