# apt-debconf: answers what packages would ask, from the file $ANSWERS. A package
# that has asked already is not asked again.
debconf-set-selections "$ANSWERS"
