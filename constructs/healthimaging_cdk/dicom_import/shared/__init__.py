"""What imports of every kind are made of: options, storage, the data store's order, rights, records, accessors.

Wings above use it too. What only an import on deploy has is beside this package.
"""
