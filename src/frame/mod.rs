//! Records and marks as columns, and the figures made from them. The only module that names polars.
