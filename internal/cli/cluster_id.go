package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/raybuild/raybuild/cluster"
)

// idFile returns the file beside the cluster's file that has the cluster's id: cluster.id for cluster.yaml.
func (a *app) idFile(o *clusterOptions) string {
	file := a.path(o.file)
	switch ext := filepath.Ext(file); ext {
	case ".yaml", ".yml":
		file = strings.TrimSuffix(file, ext)
	}
	return file + ".id"
}

// readID reads the cluster's id. It returns "" if there is no such file.
func (a *app) readID(o *clusterOptions) (string, error) {
	file := a.idFile(o)
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the cluster's id: %w", err)
	}
	var ids []string
	for line := range strings.Lines(string(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			ids = append(ids, line)
		}
	}
	if len(ids) != 1 || !cluster.ValidID(ids[0]) {
		return "", fmt.Errorf("read the cluster's id %q: it has to have one line of 32 hexadecimal digits; bring it "+
			"from where the cluster was started, or delete it: the next up makes a new one", file)
	}
	return ids[0], nil
}

// makeID reads the cluster's id, and makes its file if there is none. The file is no secret: everybody who works with
// the cluster needs it, so it belongs into the same repository as the cluster's file.
func (a *app) makeID(o *clusterOptions) (string, error) {
	id, err := a.readID(o)
	if id != "" || err != nil {
		return id, err
	}
	id = cluster.NewID()
	name := filepath.Base(o.file)
	text := fmt.Sprintf("# The id of the cluster that raybuild started from %s. It says which containers belong to "+
		"it.\n# Keep it beside %s, also in version control. In a copy that is to be another cluster, delete it.\n%s\n",
		name, name, id)
	file := a.idFile(o)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) { // another up was faster
		return a.readID(o)
	}
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return "", fmt.Errorf("write the cluster's id: %w; raybuild needs it to know its own cluster again: make the "+
			"directory writable", err)
	}
	a.say("wrote %s: keep it beside %s", filepath.Base(file), name)
	return id, nil
}

// takeOverFlag adds --take-over.
func (o *clusterOptions) takeOverFlag(f *pflag.FlagSet) {
	f.BoolVar(&o.takeOver, "take-over", false, "also change or remove what has the cluster's name and another id, or "+
		"none")
}
