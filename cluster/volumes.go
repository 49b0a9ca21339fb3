package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
)

// freshVolumes are the places of a node's volumes that are not there yet, and that it may write.
func freshVolumes(ctx context.Context, h *docker.Host, mounts []Mount) ([]string, error) {
	var out []string
	for _, m := range mounts {
		if !m.Volume || m.ReadOnly {
			continue
		}
		if m.Source != "" {
			there, err := h.HasVolume(ctx, m.Source)
			if err != nil {
				return nil, err
			}
			if there {
				continue // what it holds is somebody's
			}
		}
		out = append(out, m.Target)
	}
	return out, nil
}

// ownVolumes gives new volumes of a container to the image's user. A volume at a place that the image has begins with
// the image's files and their owner; another one is root's, so that Ray could not write there.
func (l *launch) ownVolumes(ctx context.Context, h *docker.Host, id, user string, places []string) error {
	if len(places) == 0 || isRoot(user) {
		return nil
	}
	made, err := h.Inspect(ctx, id)
	if err != nil {
		return err
	}
	var volumes []string
	for _, place := range places {
		d, err := h.Dir(ctx, id, place)
		if err != nil {
			return err
		}
		if name := made.Volumes[place]; name != "" && d.UID == 0 && d.GID == 0 && d.Empty {
			volumes = append(volumes, name)
		}
	}
	if len(volumes) == 0 {
		return nil
	}
	uid, gid, err := userIDs(ctx, h, id, user)
	if err == nil {
		err = l.own(ctx, h, made.Name, volumes, uid, gid)
	}
	if err != nil {
		return fmt.Errorf("give new volumes to the image's user %q: %w", user, err)
	}
	return nil
}

// isRoot tells whether an image's user is root.
func isRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	return name == "" || name == "0" || name == "root"
}

// own gives volumes to an owner, by a container that is never started: the node's own root may be read-only.
func (l *launch) own(ctx context.Context, h *docker.Host, node string, volumes []string, uid, gid int) error {
	if err := ensureToolImage(ctx, h, ""); err != nil {
		return err
	}
	name := "raybuild-own-" + node
	if err := h.Remove(ctx, name); err != nil { // left by a launcher that was killed
		return err
	}
	c := docker.Create{Name: name, Image: toolImage, Cmd: []string{"/raybuild"}, Labels: l.mark().labels(roleToken)}
	for i, v := range volumes {
		c.Mounts = append(c.Mounts, docker.Mount{Volume: true, Source: v, Target: fmt.Sprintf("/volume-%d", i)})
	}
	id, err := h.Create(ctx, c)
	if err != nil {
		return err
	}
	for _, m := range c.Mounts {
		err = errors.Join(err, h.Own(ctx, id, m.Target, uid, gid))
	}
	return errors.Join(err, h.Remove(context.WithoutCancel(ctx), id))
}

// userIDs are the numbers of an image's user, as its config names it: name or number, and perhaps a group.
func userIDs(ctx context.Context, h *docker.Host, id, user string) (uid, gid int, err error) {
	name, group, _ := strings.Cut(user, ":")
	uid, err = strconv.Atoi(name)
	if gid, groupErr := strconv.Atoi(group); err == nil && (groupErr == nil || group == "") {
		return uid, gid, nil
	}
	users, err := h.ReadFile(ctx, id, "/etc/passwd")
	if err != nil {
		return 0, 0, err
	}
	uid, gid, ok := idsOf(users, name)
	if !ok {
		return 0, 0, fmt.Errorf("look up user %q: the image's /etc/passwd has no such user", name)
	}
	if group == "" {
		return uid, gid, nil
	}
	if n, err := strconv.Atoi(group); err == nil {
		return uid, n, nil
	}
	groups, err := h.ReadFile(ctx, id, "/etc/group")
	if err != nil {
		return 0, 0, err
	}
	gid, _, ok = idsOf(groups, group)
	if !ok {
		return 0, 0, fmt.Errorf("look up group %q: the image's /etc/group has no such group", group)
	}
	return uid, gid, nil
}

// idsOf are the numbers in the third and fourth field of a line of /etc/passwd or /etc/group, by name or number.
func idsOf(file []byte, name string) (first, second int, ok bool) {
	for line := range strings.Lines(string(file)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 4 || fields[0] != name && fields[2] != name {
			continue
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil {
			continue
		}
		m, _ := strconv.Atoi(fields[3]) // of a group it is a list of names
		return n, m, true
	}
	return 0, 0, false
}
