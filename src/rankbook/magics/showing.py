"""Naming ranks by a device mesh, and drawing what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class, no_var_expand

from rankbook.errors import InputError
from rankbook.magics.base import RankMagics
from rankbook.magics.lines import number_of
from rankbook.magics.options import RANKS, option, variable
from rankbook.magics.usage import parse, parse_with_expression, takes

# What shows results is imported when there are some: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.models.exchanges import Exchanges
    from rankbook.models.meshes import NamedMesh
    from rankbook.models.shown import Shown

__all__ = ["ShowMagics"]


@magics_class
class ShowMagics(RankMagics):
    """``%dist_mesh`` and ``%dist_show``."""

    @line_magic
    @takes(
        option(
            "dims",
            nargs="*",
            metavar="DIM=N",
            help="Names and sizes of the dimensions. One size may be -1: it follows from the "
            "others. Default: the mesh that the ranks hold already.",
        ),
        option(
            "--name",
            default="mesh",
            type=variable,
            metavar="NAME",
            help="Name of the mesh variable. Default: mesh.",
        ),
    )
    def dist_mesh(self, line: str) -> NamedMesh:
        """Make a device mesh on the ranks, whose dimensions then select ranks by name.

        The ranks find it as `mesh`. It goes on after a hang or a reset. From then on, RANKS can
        be tp=0, dp=1,tp=0 or dp=0-1, output is labelled [dp=1] where exactly these ranks print
        the same, and tables show each rank's place.

        Examples::

            %dist_mesh dp=2 tp=2
            %%dist -r tp=0
        """
        args = parse(self.dist_mesh, line)
        dims: dict[str, int] = {}
        for word in args.dims:
            name, _, size = word.partition("=")
            if name in dims:
                raise InputError(f"The dimension {name} is given twice.")
            try:
                dims[name] = int(size)
            except ValueError:
                raise InputError(
                    f"{word!r} is not a dimension with a size: %dist_mesh dp=2 tp=2."
                ) from None
        return self.session().mesh(args.name, number_of(self.shell), **dims)

    @no_var_expand
    @line_magic
    @takes(
        RANKS,
        option(
            "--collectives",
            action="store_true",
            help="Show what every rank put into each collective of the latest cell that was run "
            "with %%dist --keep-values, and what it got.",
        ),
        option(
            "expression", nargs="*", metavar="EXPR", help="A name, with attributes and indices."
        ),
    )
    def dist_show(self, line: str) -> Shown | Exchanges:
        """Show who holds what, as a picture: tensors, the shards of a DTensor, a device mesh.

        A small tensor is shown number by number, a larger one as the means of equal areas. A
        DTensor is put together from its shards, each with the ranks that hold it. No code runs on
        the ranks and no collective is issued, so it answers while a cell runs or hangs.

        Examples::

            %dist_show x
            %dist_show -r 0-3 model.layers[0].weight
            %dist_show mesh
            %dist_show --collectives
        """
        args, expression = parse_with_expression(self.dist_show, line)
        if args.collectives:
            return self.session().exchanges(args.ranks)
        if not expression:
            raise InputError("There is nothing to show: %dist_show EXPR.")
        return self.session().show(expression, args.ranks)
