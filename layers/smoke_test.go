package layers

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/llb"
)

// smokePython runs a piece of Python in the test program's namespace.
func smokePython(t *testing.T, code string, out any) {
	t.Helper()
	testneeds.Programs(t, "python3")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "smoke.py"), []byte(smokeProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "-c", "import json, smoke\n"+code)
	cmd.Dir = dir
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
}

// The top-level modules of a distribution are those that its RECORD and top_level.txt have, and no others.
func TestSmokeModulesOfADistribution(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		record []string // nil: there is none
		top    []string
		want   []string
	}{
		{"a package", []string{"requests/__init__.py", "requests/api.py", "requests-2.32.3.dist-info/METADATA"},
			[]string{"requests"}, []string{"requests"}},
		{"a name unlike the project's", []string{"yaml/__init__.py", "_yaml/__init__.py"}, []string{"_yaml", "yaml"},
			[]string{"yaml"}},
		{"a single module", []string{"six.py", "six-1.16.0.dist-info/RECORD", "__pycache__/six.cpython-311.pyc"},
			[]string{"six"}, []string{"six"}},
		{"extensions", []string{"_cffi_backend.cpython-311-x86_64-linux-gnu.so", "cffi/__init__.py"},
			[]string{"_cffi_backend", "cffi"}, []string{"cffi"}},
		{"an extension alone", []string{"_ext.abi3.so"}, nil, []string{"_ext"}},
		{"a namespace", []string{"google/protobuf/__init__.py", "google/_upb/_message.abi3.so"}, []string{"google"},
			[]string{"google.protobuf"}},
		{"a package without __init__", []string{"loose/one.py", "loose/two.py"}, nil,
			[]string{"loose.one", "loose.two"}},
		{"stubs", []string{"requests-stubs/__init__.pyi", "types_requests-2.32.dist-info/METADATA"},
			[]string{"requests-stubs"}, []string{}},
		{"a program alone", []string{"../../../bin/tool", "tool-1.0.dist-info/METADATA", "tool-1.0.data/scripts/tool"},
			nil, []string{}},
		{"NVIDIA's libraries", []string{"nvidia/__init__.py", "nvidia/cublas/__init__.py",
			"nvidia/cublas/lib/libcublas.so.12"}, []string{"nvidia"}, []string{}},
		{"libraries that are no modules", []string{"libs/libfoo.so", "pkg/__init__.py"}, nil, []string{"pkg"}},
		{"tests beside it", []string{"tests/__init__.py", "tests/test_a.py", "pkg/__init__.py", "setup.py"},
			[]string{"pkg", "tests"}, []string{"pkg"}},
		{"tests alone", []string{"tests/__init__.py"}, nil, []string{"tests"}},
		{"a top_level.txt that names what is not there", []string{"real/__init__.py"}, []string{"imagined"},
			[]string{"real"}},
		{"no RECORD", nil, []string{"old", "old-thing"}, []string{"old"}},
		{"nothing at all", []string{}, nil, []string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			arg, err := json.Marshal(map[string]any{"record": tt.record, "top": append([]string{}, tt.top...)})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			smokePython(t, "a = json.loads('''"+string(arg)+
				"''')\nprint(json.dumps(smoke.modules_of(a['record'], a['top'])))", &got)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("modules are %v, want %v", got, tt.want)
			}
		})
	}
}

// What fails is tried alone and after others; a crash is told from an exception; what fails for the
// same cause is one failure.
func TestSmokeFindsWhatFailsAndAfterWhat(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"good": "", "fine": "", "other": "",
		"raises":   "raise ImportError('no\\n  backend')",
		"alike":    "import raises",
		"leaves":   "import sys; sys.exit(3)",
		"crashes":  "import os; os.abort()",
		"segfault": "import ctypes; ctypes.string_at(0)",
		"picky":    "import sys\nif 'fine' in sys.modules: raise RuntimeError('fine was here')",
		"deadly":   "import sys, os, signal\nif 'fine' in sys.modules: os.kill(os.getpid(), signal.SIGSEGV)",
		"pair":     "import sys\nif 'fine' in sys.modules and 'good' in sys.modules: raise RuntimeError('both')",
	}
	write := "import os, sys\n"
	for name, text := range files {
		data, _ := json.Marshal(text) //nolint:errchkjson // cannot fail
		write += "open('" + name + ".py', 'w').write(" + string(data) + ")\n"
	}
	write += "sys.path.insert(0, os.getcwd())\n"
	type failure struct {
		Modules []string
		Error   string
		Alone   bool
		After   []string
	}
	tests := []struct {
		name  string
		order string
		want  []failure
	}{
		{"all is well", "good fine other", nil},
		{"an exception of two lines, and the rest is tried", "good raises fine",
			[]failure{{[]string{"raises"}, "ImportError: no backend", true, nil}}},
		{"one cause for two", "raises alike", []failure{{[]string{"raises", "alike"},
			"ImportError: no backend", true, nil}}},
		{"it wants to exit", "leaves", []failure{{[]string{"leaves"}, "SystemExit: 3", true, nil}}},
		{"it aborts", "good crashes raises", []failure{
			{[]string{"crashes"}, "the process was ended by SIGABRT (aborted)", true, nil},
			{[]string{"raises"}, "ImportError: no backend", true, nil}}},
		{"a segmentation fault", "segfault good",
			[]failure{{[]string{"segfault"}, "the process was ended by SIGSEGV (segmentation fault)", true, nil}}},
		{"only after another one", "good fine other picky",
			[]failure{{[]string{"picky"}, "RuntimeError: fine was here", false, []string{"fine"}}}},
		{"a crash after another one only", "good other fine deadly",
			[]failure{{[]string{"deadly"}, "the process was ended by SIGSEGV (segmentation fault)", false,
				[]string{"fine"}}}},
		{"only after two others", "good fine pair",
			[]failure{{[]string{"pair"}, "RuntimeError: both", false, []string{"good", "fine"}}}},
		{"a parent's failure is not told twice", "raises raises.below",
			[]failure{{[]string{"raises"}, "ImportError: no backend", true, nil}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []failure
			smokePython(t, write+"print(json.dumps(smoke.ask('"+tt.order+"'.split())))", &got)
			if len(got) == 0 {
				got = nil
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("failures are\n%+v, want\n%+v", got, tt.want)
			}
		})
	}
}

// A process that ends before it has imported anything is a failure, and one that hangs is ended.
func TestSmokeTellsWhatNeverAnswers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ code, want string }{
		"it ends at once": {"smoke.faulthandler.enable = lambda f: os._exit(5)", "the process ended with exit code 5"},
		"it cannot begin": {"smoke.import_all = None", "the process ended with exit code 1"},
		"an import hangs": {"smoke.IMPORT_SECONDS = 1; open('stuck.py', 'w').write('import time; time.sleep(60)')",
			"its import did not end in 1 seconds"},
		"it is killed": {"smoke.faulthandler.enable = lambda f: os.kill(os.getpid(), 9)",
			"the process was ended by SIGKILL (killed: out of memory?)"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []struct {
				Modules []string
				Error   string
			}
			smokePython(t, "import os, sys\nsys.path.insert(0, os.getcwd())\n"+
				tt.code+"\nprint(json.dumps(smoke.ask(['stuck'])))", &got)
			if len(got) != 1 || got[0].Error != tt.want || !reflect.DeepEqual(got[0].Modules, []string{"stuck"}) {
				t.Errorf("failures are %+v, want one of stuck: %s", got, tt.want)
			}
		})
	}
}

// The whole program, as it runs in an image: torch is of no use where what it imports first of all
// crashes after tensorflow, and the report names both.
func TestSmokeTriesWhatTorchImportsLate(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("this test needs python3")
	}
	for name, tt := range map[string]struct {
		tensorflow string // its module
		want       []SmokeFailure
	}{
		"a crash after tensorflow": {"import sys; sys.global_symbols = True",
			[]SmokeFailure{{Modules: []string{"torch._dynamo"}, Packages: []string{"tensorflow 2.21.0", "torch 2.12.0"},
				Error: "the process was ended by SIGSEGV (segmentation fault)", After: []string{"tensorflow"}}}},
		"a tensorflow that keeps to itself": {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{
				"ray/__init__.py": "", "bin/ray": "",
				"tensorflow/__init__.py":             tt.tensorflow,
				"tensorflow-2.21.0.dist-info/RECORD": "tensorflow/__init__.py,,\n",
				"torch/__init__.py":                  "", "torch-2.12.0.dist-info/RECORD": "torch/__init__.py,,\n" +
					"torch/_dynamo/__init__.py,,\n",
				"torch/_dynamo/__init__.py": "import os, signal, sys\n" +
					"if hasattr(sys, 'global_symbols'): os.kill(os.getpid(), signal.SIGSEGV)\n",
			} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), python, "-c", smokeProgram,
				`{"modules": [], "packages": ["torch", "tensorflow"]}`)
			cmd.Env = append(os.Environ(), "PYTHONPATH="+dir, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
			out, err := cmd.Output()
			if !strings.HasPrefix(string(out), "importing ray, torch, tensorflow, torch._dynamo\n") ||
				(err == nil) != (tt.want == nil) {
				t.Errorf("%v\n%s", err, out)
			}
			got, _ := parseSmokeReport(strings.Split(string(out), "\n"))
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("failures are %+v, want %+v", got, tt.want)
			}
		})
	}
}

// What the extras let a program import is tested, in one order, each module once.
func TestSmokeModulesOfExtras(t *testing.T) {
	t.Parallel()
	for extras, want := range map[string]string{
		"":                    "ray.scripts.scripts",
		"default rllib tune":  "ray.scripts.scripts ray.job_submission ray.rllib ray.tune",
		"air data":            "ray.scripts.scripts ray.data ray.train ray.tune ray.serve",
		"adag cgraph unknown": "ray.scripts.scripts",
	} {
		if got := strings.Join(smokeModules(strings.Fields(extras)), " "); got != want {
			t.Errorf("extras %q: modules %q, want %q", extras, got, want)
		}
	}
}

// The error is short, names packages and the next step, and hands on nothing that a terminal would act on.
func TestSmokeErrorIsShort(t *testing.T) {
	t.Parallel()
	report := `1.2 raybuild-smoke: {"failures": [{"modules": ["tensorflow"], "packages": ["tensorflow 2.21.0", "torch 2.12.0"], "error": "the process was ended by SIGSEGV (segmentation fault)", "after": ["torch"], "in": ""},` +
		`{"modules": ["a"], "packages": ["a 1"], "error": "ImportError: \u001b[31mred", "alone": true, "in": "numpy 1.19.5"}, {"modules": ["b"], "packages": ["b 1"], "error": "x", "alone": true},` +
		`{"modules": ["c"], "packages": ["c 1"], "error": "x2", "alone": true}]}`
	failures, err := parseSmokeReport([]string{"noise", report})
	if err != nil {
		t.Fatal(err)
	}
	text := (&SmokeError{Platform: "linux/amd64", Failures: failures}).Error()
	for _, want := range []string{"tensorflow", "torch 2.12.0", "SIGSEGV", "not after torch", "alone as well",
		"raised in numpy 1.19.5", "and 1 more", "pin another version of", "smoke: false", "--smoke=false", "no name"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	if lines := strings.Count(text, "\n") + 1; lines > 10 || strings.ContainsRune(text, 0x1b) {
		t.Errorf("it has %d lines, or control characters:\n%q", lines, text)
	}
	own := (&SmokeError{Platform: "linux/amd64", Command: true,
		Step: &llb.StepError{ExitCode: 7, Log: strings.Fields("1 2 3 4 5 6 7 8 9"), Err: errors.New("x")}}).Error()
	if !strings.Contains(own, "exit code 7") || !strings.Contains(own, "| 9") || strings.Contains(own, "| 3\n") ||
		strings.Count(own, "\n") > 9 {
		t.Errorf("the error of an own command is\n%s", own)
	}
}

func FuzzSmokeReport(f *testing.F) {
	f.Add(`raybuild-smoke: {"failures": [{"modules": ["a"], "packages": ["a 1"], "error": "x", "after": ["b"]}]}`)
	f.Add("raybuild-smoke: {}")
	f.Add("nothing")
	f.Fuzz(func(t *testing.T, log string) {
		failures, err := parseSmokeReport(strings.Split(log, "\n"))
		if (err == nil) != (len(failures) > 0) {
			t.Fatalf("%d failures, and the error %v", len(failures), err)
		}
		text := (&SmokeError{Failures: failures}).Error()
		if len(text) > 8000 || strings.Count(text, "\n") > 10 || strings.ContainsRune(text, 0x1b) {
			t.Errorf("the error is %q", text)
		}
	})
}
